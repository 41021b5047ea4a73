"""Family ``ranges``: magnitudes up to the edge of a precision, and values that are not finite."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import BOUNDLESS, NumericsCase, Observation, Observe, Subject
from bnsuite.cases.checks.material import other_norms
from bnsuite.cases.checks.material.arithmetic import (
    LIMIT,
    StepResult,
    error_ratio,
    layer_step,
    randomize_state,
    reference_step,
    state_of,
    step_against_float64,
)
from bnsuite.cases.checks.material.layouts import lay
from bnsuite.cases.checks.material.outcomes import each_backend

if TYPE_CHECKING:
    import torch

HALVES = ("float16", "bfloat16")
#: Standard deviations whose square a float32 holds, and a half precision its values.
SCALES = {
    "float32": (1e-15, 1e-10, 1e-6, 1e-3, 1e3, 1e6, 1e10, 1e14, 1e17),
    "bfloat16": (1e-15, 1e-6, 1e3, 1e10, 1e17),
    "float16": (1e-6, 1e-3, 1e2, 1e3, 1.2e4),
}
#: Standard deviations whose square a float32 does not hold.
BEYOND = (1e-30, 1e20, 1e25, 1e30, 1e37)
SHAPES: dict[str, tuple[int, ...]] = {
    "batch_norm1d": (33, 9),
    "batch_norm2d": (4, 9, 3, 5),
    "batch_norm3d": (2, 5, 3, 4, 5),
}
LAYOUTS = ("contiguous", "channels-last")


def _scaled(
    subject: Subject, *, shape: tuple[int, ...], dtype: str, scale: float, training: bool, layout: str
) -> Iterator[Observation]:
    """Input, and what is stored of earlier ones, at a scale, with nothing added that would hide a small output."""
    import torch

    layer: Any = randomize_state(subject.batch_norm(len(shape) - 2 or 1, shape[1], affine=False, momentum=1.0))
    layer.train(training)
    with torch.no_grad():
        layer.running_mean.mul_(scale / 8)
        layer.running_var.mul_(min(scale**2, 1e37))
    x = (subject.randn(*shape, mean=0.25, std=1.0, dtype="float64") * scale).to(getattr(torch, dtype))
    dy = subject.randn(*shape, seed=1, dtype=dtype)
    yield from step_against_float64(layer, lay(x, layout), lay(dy, layout), momentum=1.0)


def _stretched(subject: Subject, *, part: str, scale: float, training: bool) -> Iterator[Observation]:
    """Incoming gradients, weights or biases at a scale."""
    import torch

    layer: Any = randomize_state(subject.batch_norm(2, 9)).train(training)
    shape = SHAPES["batch_norm2d"]
    x, dy = subject.randn(*shape), subject.randn(*shape, seed=1)
    if part == "dy":
        dy = dy * scale
    else:
        with torch.no_grad():
            getattr(layer, part).mul_(scale)
    yield from step_against_float64(layer, x, dy)


def _outcome(y: torch.Tensor, exact: torch.Tensor) -> str:
    """Returns the outcome of an output, in a word."""
    import torch

    if torch.isnan(y).any():
        return "nan" if torch.isnan(y).all() else "nan in part"
    if torch.isinf(y).any():
        return "inf"
    if not y.any():
        return "zero"
    off = (y.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    return "right" if off < 1e-2 else "wrong"


def _beyond(subject: Subject, *, kind: str, dtype: str) -> Iterator[Observation]:
    """Trains where the variance is outside float32's range: the result is compared with the accepted one."""
    import torch

    for scale in BEYOND:
        shape = SHAPES.get(kind, SHAPES["batch_norm2d"])
        x = (subject.randn(*shape, mean=0.25, std=1.0, dtype="float64") * scale).to(getattr(torch, dtype))
        if kind in SHAPES:
            layer: Any = subject.batch_norm(len(shape) - 2 or 1, shape[1], affine=False, momentum=1.0)
            exact: Any = reference_step(state_of(layer, momentum=1.0), x, None, exact=True)
            y = layer(x)
            yield Observation(f"running_var of {scale:g}", _outcome(layer.running_var, exact.running_var))
        else:
            layer = other_norms.make(subject, kind, shape).to(x.dtype)
            other_norms.affine_of(layer).get("bias", torch.zeros(())).data.zero_()
            exact = other_norms.reference_step(kind, layer, x, None, exact=True)
            y = layer(x)
        yield Observation(f"y of {scale:g}", _outcome(y.detach(), exact.y))


def _checkered(subject: Subject, *, kind: str, dtype: str, own: bool) -> Iterator[Observation]:
    """Alternately A and -A: the normal form is 1 and -1, and the variance is past float16's range from A = 256 on.

    Parameters are in float32, or in the input's precision if `own`.
    """
    import torch

    shape = (4, 6, 8, 8)
    signs = 1.0 - 2.0 * (torch.arange(8).view(-1, 1) + torch.arange(8)).remainder(2)
    kept = torch.float32 if not own else getattr(torch, dtype)
    for size in (64.0, 256.0, 512.0, 30000.0, 65000.0):
        x = (signs * size).expand(shape).contiguous().to(subject.device, getattr(torch, dtype))
        amplitude = x.double().abs().max().item()
        if kind == "batch_norm2d":
            layer: Any = subject.batch_norm(2, 6, affine=own, momentum=1.0).to(kept)
            y = layer(x).detach().double()
            stored, full = layer.running_var.double().max().item(), amplitude**2 * 256 / 255
            if full < torch.finfo(kept).max:
                yield Observation(f"running_var of {size:g}", min(BOUNDLESS, abs(stored / full - 1)), 1e-2)
            else:
                yield Observation(f"running_var of {size:g}", "finite" if math.isfinite(stored) else "not finite")
        else:
            layer = other_norms.make(subject, kind, shape).to(kept)
            with torch.no_grad():
                layer.weight.fill_(1.0)
                other_norms.affine_of(layer).get("bias", torch.zeros(())).zero_()
            y = layer(x).detach().double()
        off = (y - signs.to(subject.device)).abs().max().item()
        yield Observation(f"y of {size:g}", off if math.isfinite(off) else BOUNDLESS, 1e-2)


def _many(subject: Subject, *, dtype: str, own: bool, layout: str) -> Iterator[Observation]:
    """More values than float16 can count, of a sum that it can't hold."""
    import torch

    layer = randomize_state(subject.batch_norm(2, 2))
    if own:
        layer.to(getattr(torch, dtype))
    shape = (2, 2, 200, 200)
    x = subject.randn(*shape, mean=10.0, std=10.0, dtype=dtype)
    dy = subject.randn(*shape, seed=1, mean=0.3, std=0.2, dtype=dtype)
    yield from step_against_float64(layer, lay(x, layout), lay(dy, layout))


def _stored(subject: Subject, *, dtype: str, part: str) -> Iterator[Observation]:
    """Evaluation with stored statistics that the precision of the input does not hold."""
    import torch

    layer: Any = randomize_state(subject.batch_norm(2, 8, affine=False)).eval()
    variances = torch.tensor([1e-8, 1e-6, 1e-3, 1.0, 1e5, 1e7, 1e9, 1e12])
    scales = variances.sqrt().clamp_max(1e4).to(subject.device)
    with torch.no_grad():
        layer.running_var.copy_(variances)
        if part == "mean":
            layer.running_var.fill_(1e10)
            layer.running_mean.copy_(torch.tensor([-1e6, -3e5, -7e4, -1e-8, 1e-7, 1e5, 3e5, 1e6]))
            scales = torch.full((8,), 1e4, device=subject.device)
    shape = (4, 8, 3, 5)
    x = (subject.randn(*shape) * scales.view(-1, 1, 1)).to(getattr(torch, dtype))
    yield from step_against_float64(layer, x, subject.randn(*shape, seed=1, dtype=dtype))


def _kinds(tensor: torch.Tensor) -> torch.Tensor:
    """Returns 0 where finite, else the value."""
    import torch

    return torch.where(tensor.isnan(), 2, torch.where(tensor.isinf(), tensor.sign().nan_to_num(), 0)).cpu()


def _injected(
    subject: Subject, *, where: str, dtype: str, shape: tuple[int, ...], layout: str, training: bool
) -> Iterator[Observation]:
    """One value of x or dy that is not finite, in one channel: it reaches what it reaches in float64, and no other
    channel.
    """
    import torch

    hit = 2
    kept = [channel for channel in range(shape[1]) if channel != hit]
    for value in (math.inf, -math.inf, math.nan):
        layer = randomize_state(subject.batch_norm(len(shape) - 2 or 1, shape[1])).train(training)
        x, dy = subject.randn(*shape, dtype=dtype), subject.randn(*shape, seed=1, dtype=dtype)
        (x if where == "x" else dy)[1, hit].view(-1)[-1] = value
        x, dy = lay(x, layout), lay(dy, layout)
        start = state_of(layer)
        seen, exact, rounded = (
            layer_step(layer, x, dy),
            *(reference_step(start, x, dy, exact=one) for one in (True, False)),
        )
        worst = 0.0
        for part in fields(StepResult):
            one, truth, two_pass = (getattr(side, part.name) for side in (seen, exact, rounded))
            axis = 1 if one.dim() > 1 else 0
            index = torch.tensor(kept, device=subject.device)
            worst = max(worst, error_ratio(*(side.index_select(axis, index) for side in (one, truth, two_pass))))
            found, wanted = (_kinds(side.select(axis, hit)) for side in (one, truth))
            if training:  # where NaN and infinity are a matter of the order of the sum
                found, wanted = found != 0, wanted != 0
            word = "as in float64" if torch.equal(found.double(), wanted.double()) else "differs"
            yield Observation(f"{part.name} hit by {value}", word, expected="as in float64")
        yield Observation(f"channels beside {value}", worst, LIMIT)


def _case(name: str, observers: Mapping[str, Observe], **options: Any) -> NumericsCase:
    options = {"quick": False, **options}
    return NumericsCase(group="ranges", name=name, observe=partial(each_backend, observers=observers), **options)


def _scales() -> Iterator[NumericsCase]:
    rule = "results are right at every scale whose variance a float32 holds"
    for (kind, shape), (dtype, scales), training in product(SHAPES.items(), SCALES.items(), (True, False)):
        for layout in LAYOUTS if len(shape) == 4 else LAYOUTS[:1]:
            observe = partial(_scaled, shape=shape, dtype=dtype, training=training, layout=layout)
            yield _case(
                f"{kind}/{'train' if training else 'eval'}/{dtype}/{layout}/scales",
                {f"std={scale:g}": partial(observe, scale=scale) for scale in scales},
                rule=rule,
                rows=("T24",) if dtype == "float16" and training else (),
                quick=kind == "batch_norm2d" and training and layout == "contiguous",
            )
    for part, training in product(("dy", "weight", "bias"), (True, False)):
        observe = partial(_stretched, part=part, training=training)
        yield _case(
            f"batch_norm2d/{'train' if training else 'eval'}/{part}",
            {f"scale={scale:g}": partial(observe, scale=scale) for scale in (1e-25, 1e25)},
            rule="large and small gradients and parameters give exact results",
        )
    for kind, dtype in product((*SHAPES, *other_norms.KINDS), ("float32", "bfloat16")):
        yield _case(
            f"{kind}/train/{dtype}/beyond",
            {"": partial(_beyond, kind=kind, dtype=dtype)},
            rule="the outcome where the variance is outside float32's range does not change",
            rows=("N32",),
            torch_only=kind not in SHAPES,
        )


def _halves() -> Iterator[NumericsCase]:
    rule = "statistics are summed and kept in float32"
    for dtype, own in product(HALVES, (False, True)):
        where = f"train/{dtype}/parameters={'same' if own else 'float32'}"
        for kind in ("batch_norm2d", *other_norms.KINDS):
            yield _case(
                f"{kind}/{where}/checkerboard",
                {"": partial(_checkered, kind=kind, dtype=dtype, own=own)},
                rule=rule,
                rows=("N41",) if dtype == "float16" else (),
                torch_only=kind != "batch_norm2d",
                quick=kind == "batch_norm2d",
            )
        for layout in LAYOUTS:
            observe = partial(_many, dtype=dtype, own=own, layout=layout)
            yield _case(f"batch_norm2d/{where}/{layout}/n=80000", {"": observe}, rule=rule)
    for dtype in (*HALVES, "float32"):
        yield _case(
            f"batch_norm2d/eval/{dtype}/stored",
            {part: partial(_stored, dtype=dtype, part=part) for part in ("variance", "mean")},
            rule="stored statistics are read as float32",
            rows=("N38",) if dtype == "float16" else (),
            quick=True,
        )


def _not_finite() -> Iterator[NumericsCase]:
    for where, dtype, training in product(("x", "dy"), SCALES, (True, False)):
        for kind, layout in (("batch_norm1d", LAYOUTS[0]), *(("batch_norm2d", layout) for layout in LAYOUTS)):
            observe = partial(_injected, where=where, dtype=dtype, shape=SHAPES[kind], layout=layout, training=training)
            yield _case(
                f"{kind}/{'train' if training else 'eval'}/{dtype}/{layout}/not-finite={where}",
                {"": observe},
                rule="a value that is not finite reaches what it reaches in float64",
                quick=kind == "batch_norm1d" and dtype == "float32",
            )


def cases() -> Iterator[NumericsCase]:
    yield from _scales()
    yield from _halves()
    yield from _not_finite()
