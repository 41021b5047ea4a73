"""Family ``large-batch``: batches past the sizes where indices and launch grids break."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING

from bnsuite.cases.checks.case import BOUNDLESS, NumericsCase, Observation, Observe, Subject
from bnsuite.cases.checks.material.arithmetic import StepResult, layer_step, randomize_state, reference_step, state_of
from bnsuite.cases.checks.material.layouts import lay
from bnsuite.cases.checks.material.other_norms import Norm
from bnsuite.cases.checks.material.settings import cudnn_enabled

if TYPE_CHECKING:
    import torch

#: The largest error of any element, as a share of its size or of the usual one: an element that was left out or comes
#: from elsewhere is far beyond, while a sum of a million float32 in one row is not.
LIMITS = {"float32": 2e-3, "float16": 4e-3, "bfloat16": 1.6e-2}


def _error(seen: torch.Tensor, exact: torch.Tensor) -> float:
    """The largest error of an element, as a share of its size or of the root mean square of all."""
    if seen.shape != exact.shape:
        return BOUNDLESS
    usual = exact.square().mean().sqrt().clamp_min(1e-300)
    worst = ((seen.double() - exact).abs() / exact.abs().clamp_min(usual)).max().item()
    return worst if math.isfinite(worst) else BOUNDLESS


def _edged(dy: torch.Tensor) -> torch.Tensor:
    """`dy` with the samples beside the edges so large that no sum is right without them."""
    for edge in (0, 65535, 131070, 2**17, dy.shape[0] - 1):
        dy[max(0, edge - 1) : edge + 2] *= dy.shape[0] ** 0.5 / 16
    return dy


def _many(
    subject: Subject, *, shape: tuple[int, ...], training: bool, cudnn: bool, dtype: str = "float32", layout: str = ""
) -> Iterator[Observation]:
    """A step forward and back, every part of it against float64; statistics too."""
    layer = randomize_state(subject.batch_norm(max(1, len(shape) - 2), shape[1])).train(training)
    start = state_of(layer)
    x = lay(subject.randn(*shape, dtype=dtype), layout)
    dy = lay(_edged(subject.randn(*shape, seed=1, mean=0.0, dtype=dtype)), layout)
    with cudnn_enabled(cudnn):
        seen = layer_step(layer, x, dy)
    exact = reference_step(start, x, dy, exact=True)
    for part in fields(StepResult):
        one, truth = (getattr(side, part.name) for side in (seen, exact))
        if truth is not None:
            limit = 1e-4 if part.name.startswith("running") else LIMITS[dtype]
            yield Observation(part.name, BOUNDLESS if one is None else _error(one, truth), limit)


def _norms(subject: Subject, *, norm: Norm) -> Iterator[Observation]:
    """A step forward and back of another norm, against float64."""
    import torch

    layer = randomize_state(norm.layer()).to(subject.device)
    dy = subject.randn(*norm.shape, seed=1)
    found: list[list[torch.Tensor]] = []
    for exact in (False, True):
        leaf = subject.randn(*norm.shape, dtype="float64" if exact else "float32").requires_grad_()
        y = norm.reference_step(leaf, layer) if exact else layer(leaf)
        wanted = (leaf, layer.get_parameter("weight"), layer.get_parameter("bias"))
        found.append([y.detach(), *torch.autograd.grad(y, wanted, dy.to(y.dtype))])
    for name, one, truth in zip(("y", "dx", "dweight", "dbias"), *found, strict=True):
        yield Observation(name, _error(one, truth.double()), LIMITS["float32"])


SIZES = (65535, 65536, 65537, 131070, 131071, 2**20)
PAST = (65536, 131071, 200000)
RULE = "sizes past the limits of indices and launch grids are computed like any others"
NORMS = (
    Norm("layer_norm", (65537, 16)),
    Norm("layer_norm", (2**17 + 1, 12)),
    Norm("group_norm", (65537, 16), groups=2),
    Norm("group_norm", (65537, 4, 6), groups=2),
    Norm("instance_norm", (65537, 2, 12)),
    Norm("instance_norm", (3, 65537, 12)),
)
EVALUATED = ("N58", "N59", "N60", "N61")

Entry = tuple[str, Observe, tuple[str, ...]]


def _entries(cudnn: bool) -> Iterator[Entry]:
    """Yields each check before it is a case: its name, its function and its rows."""
    for training in (True, False):
        mode = "train" if training else "eval"
        rows = ("N57",) if training else EVALUATED
        observe = partial(_many, training=training, cudnn=cudnn)
        for n in SIZES:
            for inner in ((3,), (2, 1, 1)) if n == 2**20 else ((3,), (3, 2), (2, 1, 1), (2, 1, 2), (2, 1, 1, 1)):
                yield f"n={n}/{'x'.join(map(str, inner))}/{mode}", partial(observe, shape=(n, *inner)), rows
        for dtype in ("float16", "bfloat16"):
            for n in PAST:
                yield f"n={n}/{dtype}/{mode}", partial(observe, shape=(n, 3), dtype=dtype), rows
        yield f"n=65537/channels-last/{mode}", partial(observe, shape=(65537, 4, 2, 2), layout="channels-last"), rows
        for channels in (65535, 65536, 65537, 131072):
            for size in ((12, channels), (3, channels, 4), (12, channels, 1, 1)):
                yield f"c={channels}/{len(size)}-axes/{mode}", partial(observe, shape=size), ()
        shapes: tuple[tuple[int, ...], ...]
        shapes = ((1, 2, 2**20 + 1), (2, 2, 65537, 1), (2, 2, 1, 65537), (1, 1, 1025, 1025), (1, 2, 65537, 2, 2))
        for shape in shapes:
            yield f"extent/{'x'.join(map(str, shape))}/{mode}", partial(observe, shape=shape), ()


def cases() -> Iterator[NumericsCase]:
    """Yields every check, and on CUDA once more with cuDNN off."""
    for cudnn in (True, False):
        for name, observe, rows in _entries(cudnn):
            yield NumericsCase(
                group="large-batch",
                name=name if cudnn else f"{name}/cudnn=off",
                observe=observe,
                rule=RULE,
                rows=rows,
                gpu_only=not cudnn,
                quick=cudnn and name in {"n=65537/3/train", "n=65537/3/eval", "n=65536/2x1x1/eval"},
            )
    for norm in NORMS:
        name = f"{norm.kind}/{'x'.join(map(str, norm.shape))}"
        yield NumericsCase(
            group="large-batch", name=name, observe=partial(_norms, norm=norm), rule=RULE, torch_only=True, quick=False
        )
