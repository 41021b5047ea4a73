"""Family ``arguments``: a step leaves what it was given alone, and one tensor may be given in two roles."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases import gpu_errors
from bnsuite.cases.checks.case import BehaviourCase, Observation, Subject
from bnsuite.cases.checks.material import other_norms
from bnsuite.cases.checks.material.arithmetic import randomize_state, same_bits

if TYPE_CHECKING:
    import torch

CHANNELS = 3
SHAPES: dict[int, tuple[int, ...]] = {1: (6, CHANNELS, 4), 2: (6, CHANNELS, 4, 5), 3: (4, CHANNELS, 2, 3, 4)}
#: The most that a result may differ from that of copies, as a part of its largest value; both are float32.
LIMIT = 1e-5
#: Roles of one tensor in a call of batch norm: the first takes the tensor of the second.
ROLES: dict[str, tuple[tuple[str, str], ...]] = {
    "running_mean-is-bias+running_var-is-weight": (("running_mean", "bias"), ("running_var", "weight")),
    "running_mean-is-bias": (("running_mean", "bias"),),
    "running_var-is-weight": (("running_var", "weight"),),
    "weight-is-bias": (("weight", "bias"),),
    "running_mean-is-running_var": (("running_mean", "running_var"),),
}


def _unchanged(subject: Subject, *, kind: str, dimensions: int, training: bool) -> Iterator[Observation]:
    """One step, and the bits of everything that it was given before and after each half of it."""
    shape = SHAPES[dimensions]
    layer: Any = (
        randomize_state(subject.batch_norm(dimensions, CHANNELS))
        if kind == "batch_norm"
        else other_norms.make(subject, kind, shape)
    ).train(training)
    x, dy = subject.randn(*shape).requires_grad_(), subject.randn(*shape, seed=1)
    given = {"x": x, "dy": dy, **dict(layer.named_parameters())}
    if not training:
        given |= dict(layer.named_buffers())
    before = {name: one.detach().clone() for name, one in given.items()}

    def compared(half: str) -> Iterator[Observation]:
        for name, one in given.items():
            same = same_bits(one, before[name])
            yield Observation(f"{half}/{name}", "unchanged" if same else "changed", expected="unchanged")

    y = layer(x)
    yield from compared("forward")
    result, statistics = y.detach().clone(), {name: one.clone() for name, one in layer.named_buffers()}
    y.backward(dy)
    yield from compared("backward")
    same = same_bits(y, result)
    yield Observation("backward/y", "unchanged" if same else "changed", expected="unchanged")
    for name, one in layer.named_buffers():
        if training:  # moved by the forward pass, and by nothing later
            same = same_bits(one, statistics[name])
            yield Observation(f"backward/{name}", "unchanged" if same else "changed", expected="unchanged")


def _tensors(subject: Subject) -> dict[str, torch.Tensor]:
    names = ("weight", "bias", "running_mean", "running_var")
    return {name: subject.randn(CHANNELS, seed=seed).abs() + 0.5 for seed, name in enumerate(names, 2)}


def _roles(subject: Subject, *, roles: str, dimensions: int, training: bool) -> Iterator[Observation]:
    """The output with one tensor in two roles, beside that with copies of it. A refusal differs by nothing."""
    import torch
    from torch.nn import functional

    x = subject.randn(*SHAPES[dimensions])
    tensors = _tensors(subject)
    for role, other in ROLES[roles]:
        tensors[role] = tensors[other]
    copies = {name: one.clone() for name, one in tensors.items()}
    call: Any = partial(functional.batch_norm, x, training=training)
    right = call(**copies)
    try:
        y = call(**tensors)
    except (RuntimeError, ValueError) as error:
        gpu_errors.note(error)
        yield Observation("y", 0.0, LIMIT)
        return
    largest = float(right.abs().max())
    yield Observation("y", float((y - right).abs().max()) / largest, LIMIT)
    finite = bool(torch.isfinite(y).all())
    yield Observation("finite", str(finite), expected="True")


def cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="arguments")
    for kind, dimensions, training in product(("batch_norm", *other_norms.KINDS), SHAPES, (True, False)):
        own = kind == "batch_norm"
        mode = "train" if training else "eval"
        yield case(
            name=f"{kind}{dimensions}d/unchanged/{mode}" if own else f"{kind}/{dimensions}d/unchanged/{mode}",
            observe=partial(_unchanged, kind=kind, dimensions=dimensions, training=training),
            rule="a step keeps every bit of its input, incoming gradient, parameters and buffers that should not move",
            torch_only=not own,
            quick=own and dimensions == 2,
        )
    for roles, dimensions, training in product(ROLES, SHAPES, (True, False)):
        yield case(
            name=f"functional/{dimensions}d/{roles}/{'train' if training else 'eval'}",
            observe=partial(_roles, roles=roles, dimensions=dimensions, training=training),
            rule="one tensor in two roles gives what copies of it give, or is refused",
            torch_only=True,
        )
