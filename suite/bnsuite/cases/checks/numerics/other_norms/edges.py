"""Values that are not finite, few or none, running statistics, and weights of zero."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import partial
from itertools import product

from bnsuite.cases import gpu_errors
from bnsuite.cases.checks.case import Observation, Subject
from bnsuite.cases.checks.material.arithmetic import LIMIT, StepResult, error_ratio, same_bits
from bnsuite.cases.checks.material.layouts import strided
from bnsuite.cases.checks.material.other_norms import GROUP, INSTANCE, LAYER, RMS, Norm, affine_of, step_of
from bnsuite.cases.checks.numerics.other_norms.norms import HALVES, NORMS, Entry, blurred, judged, kept, made

MANY = {LAYER: (2, 80000), RMS: (2, 80000), GROUP: (1, 4, 200, 200), INSTANCE: (1, 2, 200, 400)}
VALUES = (math.inf, -math.inf, math.nan)
#: Few values in a slice, extents of 1, and many values.
SIZES: dict[str, tuple[tuple[int, ...], ...]] = {
    LAYER: ((5, 2), (1, 17), (300, 3), (2, 4097), (3, 1, 5, 1)),
    RMS: ((5, 1), (5, 2), (1, 17), (300, 3), (2, 4097), (3, 1, 5, 1)),
    GROUP: ((3, 4), (2, 4, 1, 1), (1, 4, 1, 5), (2, 6, 33, 31), (2, 130, 1, 3)),
    INSTANCE: ((2, 3, 2), (1, 3, 1, 5), (2, 3, 1, 1, 2), (2, 3, 33, 31), (70, 5, 3)),
}


def _not_finite(subject: Subject, *, norm: Norm, where: str, dtype: str, layout: str) -> Iterator[Observation]:
    """One value of x or dy is not finite: it reaches what it reaches in float64, and nothing else."""
    for value in VALUES:
        layer = made(subject, norm, kept(norm, dtype))
        x, dy = subject.randn(*norm.shape, dtype=dtype), subject.randn(*norm.shape, seed=1, dtype=dtype)
        (x if where == "x" else dy)[1].view(-1)[-2] = value
        x, dy = strided(x, layout), strided(dy, layout)
        exact, rounded = (norm.reference(layer, x, dy, exact=one) for one in (True, False))
        sides = [norm.by_slice(one) for one in (step_of(layer, x, dy), exact, rounded)]
        worst = 0.0
        for part in fields(StepResult):
            one, truth, two_pass = (getattr(side, part.name) for side in sides)
            if one is None or truth is None:
                continue
            clean = truth.isfinite() & two_pass.isfinite()  # a half precision holds less than float64
            worst = max(worst, error_ratio(*(side.where(clean, 0.0) for side in (one, truth, two_pass))))
            # RMS norm's gradient of an infinite value is NaN or 0 by the order of the formula
            if not (norm.kind == RMS and where == "x" and math.isinf(value) and part.name != "y"):
                same = bool((one.isfinite() == two_pass.isfinite()).all())
                yield Observation(f"{part.name} hit by {value}", _as(same), expected=_as(same=True))
        yield Observation(f"beside {value}", worst, LIMIT)


def _as(same: bool) -> str:
    return "as in float64" if same else "differs"


def _statistics(subject: Subject, *, norm: Norm, steps: int = 3) -> Iterator[Observation]:
    """Steps in training, whose statistics a step of evaluation then reads."""
    layer = made(subject, norm)
    held = {name: one for name, one in layer.named_buffers() if one.is_floating_point()}
    for number in range(steps):
        x, dy = (subject.randn(*norm.shape, seed=2 * number + one) for one in (0, 1))
        yield from judged(norm, layer, x, dy, f"step {number}/")
    for name, one in held.items():
        word = "updated in place" if layer.get_buffer(name) is one else "replaced"
        yield Observation(f"{name} is", word, expected="updated in place")
    kept = {name: one.clone() for name, one in held.items()}
    yield from judged(replace(norm, training=False), layer.eval(), x, dy, "evaluation/")
    for name, one in held.items():
        word = "unchanged" if same_bits(one, kept[name]) else "changed"
        yield Observation(f"{name} after evaluation", word, expected="unchanged")


def _zero_weight(subject: Subject, *, norm: Norm) -> Iterator[Observation]:
    layer = made(subject, norm)
    layer.get_parameter("weight").data[::2] = 0.0
    yield from judged(norm, layer, subject.randn(*norm.shape), subject.randn(*norm.shape, seed=1))


def _empty(subject: Subject, *, norm: Norm) -> Iterator[Observation]:
    """No samples: an empty output, and gradients of zero."""
    layer = made(subject, norm)
    shape = (0, *norm.shape[1:])
    try:
        seen = step_of(layer, subject.randn(*shape), subject.randn(*shape))
    except (RuntimeError, ValueError, IndexError) as error:
        gpu_errors.note(error)
        yield Observation("outcome", type(error).__name__, expected="returned")
        return
    yield Observation("outcome", "returned", expected="returned")
    for what in ("y", "dx"):
        yield Observation(what, str(list(getattr(seen, what).shape)), expected=str(list(shape)))
    for name in affine_of(layer):
        yield Observation(f"d{name}", f"{getattr(seen, f'd{name}').abs().max().item():g}", expected="0")


def _sized(subject: Subject, *, norm: Norm, layout: str) -> Iterator[Observation]:
    x, dy = (strided(subject.randn(*norm.shape, seed=seed), layout) for seed in (0, 1))
    yield from blurred(norm, made(subject, norm), x, dy)


def _many(subject: Subject, *, norm: Norm, dtype: str) -> Iterator[Observation]:
    """More values in a slice than float16 can count, of a sum that it can't hold."""
    x = subject.randn(*norm.shape, mean=10.0, std=10.0, dtype=dtype)
    dy = subject.randn(*norm.shape, seed=1, mean=0.3, std=0.2, dtype=dtype)
    yield from blurred(norm, made(subject, norm, kept(norm, dtype)), x, dy)


def entries() -> Iterator[Entry]:
    for (name, norm), where, dtype in product(NORMS.items(), ("x", "dy"), ("float32", *HALVES)):
        if dtype in HALVES and "2d" not in name:
            continue
        for layout in ("contiguous", "channels-last") if "2d" in name else ("contiguous",):
            observe = partial(_not_finite, norm=norm, where=where, dtype=dtype, layout=layout)
            yield "not-finite", f"{name}/{dtype}/{layout}/{where}", {"": observe}, ()
    for name, norm in NORMS.items():
        if norm.tracked and norm.training:
            observers = {
                f"momentum={momentum:g}": partial(_statistics, norm=replace(norm, momentum=momentum))
                for momentum in (0.0, 0.1, 1.0)
            }
            yield "statistics", name, observers, ()
        yield "zero-weight", name, {"": partial(_zero_weight, norm=norm)}, ()
        yield "empty", name, {"": partial(_empty, norm=norm)}, ("L02", "N52") if norm.kind == INSTANCE else ("N52",)
    for kind, shapes in SIZES.items():
        for layout in ("contiguous", "channels-last"):
            observers = {
                "x".join(map(str, shape)): partial(_sized, norm=Norm(kind, shape), layout=layout) for shape in shapes
            }
            yield "sizes", f"{kind}/{layout}", observers, ("L05",) if kind == GROUP else ()
    for (kind, shape), dtype in product(MANY.items(), HALVES):
        yield "many", f"{kind}/{dtype}", {"": partial(_many, norm=Norm(kind, shape), dtype=dtype)}, ()
