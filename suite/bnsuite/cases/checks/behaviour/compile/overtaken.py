"""Compiled evaluation, after which the layer is trained before the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.behaviour.compile.backends import AOT, PARTS, need, reset
from bnsuite.cases.checks.case import BehaviourCase, Observation, Subject
from bnsuite.cases.checks.material.arithmetic import randomize_state
from bnsuite.cases.checks.material.other_norms import instance_norm
from bnsuite.cases.checks.material.overtaken import FREE, MOMENTUM, WAYS, another_batch, due, judged, verdict

if TYPE_CHECKING:
    from torch import nn

SHAPES: dict[int, tuple[int, ...]] = {1: (6, 5, 7), 2: (4, 5, 3, 6)}
DTYPE = "float32"


def _layer(subject: Subject, kind: str, dimensions: int, *, training: bool) -> nn.Module:
    arguments: dict[str, Any] = {"affine": True, "track_running_stats": True, "momentum": MOMENTUM}
    if kind == "batch_norm":
        layer = subject.batch_norm(dimensions, 5, **arguments)
    else:
        layer = instance_norm(dimensions, 5, **arguments).to(subject.device)
    return randomize_state(layer).train(training)


def _overtaken(subject: Subject, *, kind: str, dimensions: int, training: bool, backend: str) -> Iterator[Observation]:
    """A compiled pass, the layer moved in every way by itself and by its compiled form, and the backward pass."""
    import torch

    need(backend, subject.device)
    shape = SHAPES[dimensions]
    by = "stored" if not training else "batch" if kind == "batch_norm" else "sample"
    reset()
    try:
        for way, move in WAYS.items():
            for mover in ("layer", "compiled") if way.startswith("train") else ("layer",):
                layer: Any = _layer(subject, kind, dimensions, training=training)
                compiled: Any = torch.compile(layer, backend=backend)
                x = subject.randn(*shape, dtype=DTYPE).requires_grad_()
                dy = subject.randn(*shape, seed=1, dtype=DTYPE)
                first, _ = due({"x": x, **dict(layer.named_parameters()), **_statistics(layer)}, dy, by=by)
                leaves = [x, layer.weight, layer.bias]
                y = compiled(x)
                move(layer if mover == "layer" else compiled, another_batch(subject, x))
                word = verdict(partial(torch.autograd.grad, y, leaves, dy), list(first.values()), DTYPE)
                yield judged(f"{way}/by the {mover}", [word], refusable=not (training and way in FREE))
    finally:
        reset()


def _statistics(layer: Any) -> dict[str, Any]:
    return {name: getattr(layer, name) for name in ("running_mean", "running_var")}


def cases() -> Iterator[BehaviourCase]:
    case: Callable[..., BehaviourCase] = partial(
        BehaviourCase,
        group="compile",
        rule="a backward pass after what it needs has changed is right, or refused, and never wrong without a word",
        limit_s=120.0,
    )
    table = (
        ("batch_norm", 1, False, AOT),
        ("batch_norm", 2, False, AOT),
        ("batch_norm", 2, False, PARTS),
        ("batch_norm", 2, True, AOT),
        ("instance_norm", 2, False, AOT),
    )
    for kind, dimensions, training, backend in table:
        own = kind == "batch_norm"
        where = f"{kind}{dimensions}d" if own else f"{kind}/{dimensions}d"
        yield case(
            name=f"{backend}/{where}/overtaken/{'train' if training else 'eval'}",
            observe=partial(_overtaken, kind=kind, dimensions=dimensions, training=training, backend=backend),
            rows=("S03", "S04") if own and not training else (),
            torch_only=not own,
        )
