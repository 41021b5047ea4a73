"""Family ``constant-slices``: slices of one value, or of one value throughout, which say nothing.

A value less its mean is exactly 0 there, so the output is the bias, the input's gradient is that of a norm that divides
by sqrt(eps), and the weight's is 0. The mean of a sum may be off by a few units in the last place, which sqrt(eps)
magnifies: an error of `PLACES` units makes one of B = PLACES * unit / sqrt(eps) in the normal form, B in the weight's
gradient for each unit of dy, and at most 1.5 * B^2 of the input's (B^2 / 2 by the variance, B^2 by its own term).
Where B is more than `MEANINGFUL` nothing is demanded. The mean of a single value, or of zeros, has no error: there the
answer is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases import gpu_errors
from bnsuite.cases.checks.case import NumericsCase, Observation, Observe, Subject
from bnsuite.cases.checks.material.layouts import strided
from bnsuite.cases.checks.material.other_norms import BATCH, GROUP, INSTANCE, LAYER, RMS, Norm, affine_of, step_of
from bnsuite.cases.checks.material.outcomes import each_backend
from bnsuite.cases.checks.material.states import STATISTICS

if TYPE_CHECKING:
    import torch

#: Units in the last place that a mean may be off by, in the precision that a layer computes in: float32 at the least.
PLACES = 4.0
#: The largest error of a normal form that says anything.
MEANINGFUL = 0.1
#: The rounding of sums and products, as a share of the largest number: of float64, and of float32.
ROUNDING = {"float64": 1e-13, "float32": 1e-5}
EPSS = (1e-5, 1e-3)
#: None of them exact in binary.
VALUES: dict[str, tuple[float, ...]] = {
    "float32": (1.1, -10.1, 100.1, -300.3, 3000.3),
    "float64": (1.1, -10000.3, 1e8 + 0.1),
    "float16": (1.1, -10.1, 100.1, -300.3),
    "bfloat16": (1.1, -10.1, 100.1, -300.3, 3000.3),
}
#: Single values; what float16 does not hold is left out there.
SINGLE = (1.1, -300.3, 3.3e5, 1e6, 33333330.0, -1e10)
CONSTANT: dict[str, Norm] = {
    "layer_norm/6x24": Norm(LAYER, (6, 24)),
    "layer_norm/5x7x30": Norm(LAYER, (5, 7, 30), axis=2),
    "layer_norm/3x4096": Norm(LAYER, (3, 4096)),
    "group_norm/6x12": Norm(GROUP, (6, 12)),
    "group_norm/4x8x5x6": Norm(GROUP, (4, 8, 5, 6)),
    "group_norm/2x4x32x32": Norm(GROUP, (2, 4, 32, 32)),
    "instance_norm/4x6x15": Norm(INSTANCE, (4, 6, 15)),
    "instance_norm/4x6x5x6": Norm(INSTANCE, (4, 6, 5, 6), tracked=True, momentum=1.0),
    "instance_norm/2x3x3x20x30": Norm(INSTANCE, (2, 3, 3, 20, 30)),
    "batch_norm1d/24x6": Norm(BATCH, (24, 6)),
    "batch_norm2d/4x6x5x6": Norm(BATCH, (4, 6, 5, 6), tracked=True, momentum=1.0),
}
LONE: dict[str, Norm] = {
    "layer_norm/6x1": Norm(LAYER, (6, 1)),
    "layer_norm/4x3x1": Norm(LAYER, (4, 3, 1), axis=2),
    "group_norm/4x6": Norm(GROUP, (4, 6), groups=6),
    "group_norm/4x6x1x1": Norm(GROUP, (4, 6, 1, 1), groups=6),
}
ZEROS = {**CONSTANT, "rms_norm/6x24": Norm(RMS, (6, 24)), "rms_norm/5x7x30": Norm(RMS, (5, 7, 30), axis=2), **LONE}


def _computed(dtype: str) -> str:
    """The precision that a layer is expected to compute in."""
    return "float64" if dtype == "float64" else "float32"


def _unit(values: torch.Tensor, dtype: str) -> torch.Tensor:
    """Returns the distance from each value to the next in the precision of the computation."""
    import torch

    return 2.0 ** values.abs().log2().floor() * torch.finfo(getattr(torch, _computed(dtype))).eps


def _meaningful(values: tuple[float, ...], dtype: str, eps: float) -> tuple[float, ...]:
    """Returns the values whose slices say what is right."""
    import torch

    return tuple(one for one in values if PLACES * float(_unit(torch.tensor(one), dtype)) / math.sqrt(eps) < MEANINGFUL)


@dataclass(frozen=True)
class _Given:
    """Precisions of the input and of what the layer keeps, and the layout of the input."""

    dtype: str
    kept: str
    layout: str = "contiguous"


class _Step:
    """A step on slices of one value each, and what must come of it, in float64."""

    def __init__(self, subject: Subject, norm: Norm, values: torch.Tensor, given: _Given) -> None:
        import torch

        self.norm, self.eps = norm, norm.eps or 0.0
        shape = torch.Size(norm.shape)
        x = norm.rows(subject.randn(*shape, dtype="float64")).clone()
        x[:] = values[:, None]
        self.layer = norm.module(subject).to(getattr(torch, given.kept))
        self.x = strided(norm.unrows(x, shape).contiguous().to(getattr(torch, given.dtype)), given.layout)
        self.dy = strided(subject.randn(*shape, seed=1, dtype=given.dtype), given.layout)
        named: Any = affine_of(self.layer)
        place = (-1, *[1] * (len(shape) - 2)) if norm.kind not in {LAYER, RMS} else shape[norm.axis :]
        self.weight = named["weight"].detach().double().view(place)
        self.bias = named["bias"].detach().double().view(place) if "bias" in named else torch.zeros(1)
        weighted = norm.rows(self.dy.double() * self.weight)
        mean = 0.0 if norm.kind == RMS else weighted.mean(1, keepdim=True)
        self.dx = (weighted - mean) / math.sqrt(self.eps)
        self.largest = weighted.abs().amax(1, keepdim=True) / math.sqrt(self.eps)
        self.seen: Any = step_of(self.layer, self.x, self.dy)

    def by_weight(self, values: torch.Tensor) -> torch.Tensor:
        """Returns sums of (N, C, ...) over all but the places that share a weight."""
        if self.norm.kind in {LAYER, RMS}:
            return values.reshape(-1, *self.norm.shape[self.norm.axis :]).sum(0)
        return values.sum([0, *range(2, values.dim())])


def _beyond(error: torch.Tensor, allowed: torch.Tensor) -> float:
    """Returns the largest error in what is allowed: 0 for one that is.

    How much of it a CPU's kernels use is a matter of how they add up, and no drift.
    """
    worst = float((error.abs() / allowed).nan_to_num(math.inf, math.inf).max())
    return 0.0 if worst <= 1.0 else worst


def _taken(subject: Subject, norm: Norm, values: torch.Tensor, given: _Given) -> _Step | None:
    """Returns the step, or None if the layer refuses this pair of precisions."""
    try:
        return _Step(subject, norm, values, given)
    except RuntimeError as error:
        gpu_errors.note(error)
        return None


def _constant(subject: Subject, *, norm: Norm, given: _Given) -> Iterator[Observation]:
    import torch

    dtype = given.dtype
    found = _meaningful(VALUES[dtype], dtype, norm.eps or 0.0)
    count = norm.rows(subject.randn(*norm.shape)).shape[0]
    values = torch.tensor([found[number % len(found)] for number in range(count)], dtype=torch.float64)
    values = values.to(subject.device, getattr(torch, dtype)).double()
    step = _taken(subject, norm, values, given)
    yield Observation("outcome", "refused" if step is None else "taken")
    if step is None:
        return
    bound = PLACES * _unit(values, dtype) / math.sqrt(step.eps)  # of each slice
    bounds = norm.unrows(bound[:, None].expand(-1, step.dx.shape[1]), torch.Size(norm.shape))
    place = torch.finfo(getattr(torch, dtype)).eps
    rounding = ROUNDING[_computed(dtype)]
    off = step.seen.y.double() - step.bias
    yield Observation("y", _beyond(off, bounds * step.weight + place * (1.0 + bounds)), 1.0)
    off = norm.rows(step.seen.dx.double()) - step.dx
    yield Observation("dx", _beyond(off, step.largest * (1.5 * bound.square()[:, None] + rounding + place)), 1.0)
    allowed = step.by_weight(bounds * step.dy.double().abs()).flatten()
    yield Observation("dweight", _beyond(step.seen.dweight.double().flatten(), allowed), 1.0)
    if norm.tracked:
        yield from _kept_of(step, values, dtype)


def _kept_of(step: _Step, values: torch.Tensor, dtype: str) -> Iterator[Observation]:
    """The running statistics are those of the batch alone: the constants, and 0."""
    import torch

    by_channel = values.view(-1, step.norm.shape[1]).mean(0)
    unit = _unit(values, dtype).view(-1, step.norm.shape[1]).amax(0)
    place = torch.finfo(step.seen.running_mean.dtype).eps * values.view(-1, step.norm.shape[1]).abs().amax(0)
    mean, var = (getattr(step.seen, name).double() for name in STATISTICS)
    yield Observation("running_mean", _beyond(mean - by_channel, PLACES * unit + place), 1.0)
    yield Observation("running_var", _beyond(var, 2 * (PLACES * unit).square()), 1.0)


def _exact(subject: Subject, *, norm: Norm, value: float, given: _Given) -> Iterator[Observation]:
    """Single values, or zeros: the output is the bias to the bit, and the gradient of the weight is 0.

    The gradient of the input is a difference of equal numbers, and may keep their rounding.
    """
    import torch

    count = norm.rows(subject.randn(*norm.shape)).shape[0]
    values = torch.full((count,), value, dtype=torch.float64, device=subject.device)
    step = _taken(subject, norm, values, given)
    yield Observation("outcome", "refused" if step is None else "taken")
    if step is None:
        return
    bias = step.bias.to(getattr(torch, given.kept)).to(step.seen.y.dtype)
    yield Observation("y", float((step.seen.y - bias).abs().max()), 0.0)
    off = norm.rows(step.seen.dx.double()) - step.dx
    allowed = step.largest * (ROUNDING[_computed(given.dtype)] + torch.finfo(step.x.dtype).eps)
    yield Observation("dx", _beyond(off, allowed), 1.0)
    yield Observation("dweight", float(step.seen.dweight.abs().max()), 0.0)


RULES = {
    "constant": "a slice of one value throughout gives the bias, to the error that its mean may have",
    "single": "a slice of a single value gives the bias, and gradients of zero",
    "zero": "a slice of zeros gives the bias, and no gradient of the weight",
}
ROWS = {(LAYER, "single"): ("L01", "L04"), (GROUP, "constant"): ("L09",)}
PAIRS = (
    ("float32", "float32"),
    ("float64", "float64"),
    *((half, kept) for half in ("float16", "bfloat16") for kept in ("float32", half)),
)


def _entries() -> Iterator[tuple[str, Norm, Mapping[str, Observe]]]:
    """Yields each check before it is a case: its name, its norm and its observers."""
    for (name, norm), (dtype, kept) in product(CONSTANT.items(), PAIRS):
        layouts = ("contiguous", "channels-last") if len(norm.shape) == 4 else ("contiguous",)
        for layout in layouts:
            observe = partial(_constant, given=_Given(dtype, kept, layout))
            observers = {f"eps={eps:g}": partial(observe, norm=replace(norm, eps=eps)) for eps in EPSS}
            yield f"constant/{name}/{dtype}/parameters={kept}/{layout}", norm, observers
    for (name, norm), (dtype, kept) in product(LONE.items(), PAIRS):
        observe = partial(_exact, norm=norm, given=_Given(dtype, kept))
        held = [value for value in SINGLE if dtype != "float16" or abs(value) < 65504]
        yield (
            f"single/{name}/{dtype}/parameters={kept}",
            norm,
            {f"{value:.9g}": partial(observe, value=value) for value in held},
        )
    for (name, norm), (dtype, kept) in product(ZEROS.items(), PAIRS):
        observe = partial(_exact, norm=norm, value=0.0)
        layouts = ("contiguous", "channels-last") if len(norm.shape) == 4 else ("contiguous",)
        yield (
            f"zero/{name}/{dtype}/parameters={kept}",
            norm,
            {layout: partial(observe, given=_Given(dtype, kept, layout)) for layout in layouts},
        )


def cases() -> Iterator[NumericsCase]:
    for name, norm, observers in _entries():
        what = name.split("/")[0]
        yield NumericsCase(
            group="constant-slices",
            name=name,
            observe=partial(each_backend, observers=observers),
            rule=RULES[what],
            rows=ROWS.get((norm.kind, what), ()),
            torch_only=norm.kind != BATCH,
            quick=name.endswith("/24x6/float32/parameters=float32/contiguous"),
        )
