"""Steps of every norm in every precision and layout."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

from bnsuite.cases.checks.case import Observation, Subject
from bnsuite.cases.checks.material.arithmetic import places, same_bits
from bnsuite.cases.checks.material.layouts import strided
from bnsuite.cases.checks.material.other_norms import RMS, Norm, affine_of, step_of
from bnsuite.cases.checks.material.outcomes import is_taken
from bnsuite.cases.checks.numerics.other_norms.norms import HALVES, NORMS, Entry, judged, made

if TYPE_CHECKING:
    import torch

#: Precisions of the input and of the parameters and buffers.
PAIRS = (
    ("float32", "float32"),
    ("float64", "float64"),
    *((half, kept) for half in HALVES for kept in (half, "float32")),
)
#: Layouts of the input and the incoming gradient.
LAYOUTS = (
    ("contiguous", "contiguous"),
    ("contiguous", "channels-last"),
    ("channels-last", "channels-last"),
    ("channels-last", "contiguous"),
    ("permuted", "permuted"),
    ("sliced", "sliced"),
)


def _layout(tensor: torch.Tensor, given: torch.Tensor) -> str:
    if tensor.stride() == given.stride():
        return "the input's"
    return "contiguous" if tensor.is_contiguous() else "other"


def _step(subject: Subject, *, norm: Norm, dtype: str, parameters: str, x: str, dy: str) -> Iterator[Observation]:
    """A step: its numbers, and the precision and the layout of each."""
    layer = made(subject, norm, parameters)
    one = strided(subject.randn(*norm.shape, dtype=dtype), x)
    other = strided(subject.randn(*norm.shape, seed=1, mean=0.1, std=0.5, dtype=dtype), dy)
    taken = is_taken(layer, one)
    yield Observation("outcome", "taken" if taken else "refused")
    if not taken:
        return
    layer = made(subject, norm, parameters)
    if dtype in HALVES and parameters == "float32":
        truth, found = norm.reference(layer, one, None, exact=True).y, layer(one).detach()
        assert truth is not None
        yield Observation("places of y", places(found, truth), 1.0)
        layer = made(subject, norm, parameters)
    yield from judged(norm, layer, one, other)
    seen = step_of(layer, one, other)
    likes = {"y": one, "dx": one, **{f"d{name}": parameter for name, parameter in affine_of(layer).items()}}
    for what, like in likes.items():
        found = getattr(seen, what)
        yield Observation(f"dtype of {what}", str(found.dtype), expected=str(like.dtype))
    is_promised = x == "contiguous" or (x == "channels-last" and len(norm.shape) > 3)
    for what in ("y", "dx"):
        found = _layout(getattr(seen, what), one)
        yield Observation(f"layout of {what}", found, expected="the input's" if is_promised else None)


def _modes(subject: Subject, *, norm: Norm, dtype: str) -> Iterator[Observation]:
    """A norm without running statistics computes the same in both modes."""
    x, dy = (subject.randn(*norm.shape, seed=seed, dtype=dtype) for seed in (0, 1))
    one, other = (step_of(made(subject, norm, dtype).train(training), x, dy) for training in (True, False))
    for part in ("y", "dx", *(f"d{name}" for name in affine_of(norm.layer()))):
        word = "the same" if same_bits(getattr(one, part), getattr(other, part)) else "another"
        yield Observation(part, word, expected="the same")


def entries() -> Iterator[Entry]:
    for (name, norm), (dtype, parameters) in product(NORMS.items(), PAIRS):
        observe = partial(_step, norm=norm, dtype=dtype, parameters=parameters)
        pairs = LAYOUTS if len(norm.shape) > 2 else LAYOUTS[:1]
        observers = {f"x={x}/dy={dy}": partial(observe, x=x, dy=dy) for x, dy in pairs}
        rows = (
            *(("P16",) if "2d" in name else ()),
            *(("L06",) if norm.axis > 1 else ()),
            *(("L08",) if norm.kind == RMS and dtype == "bfloat16" else ()),
        )
        yield "step", f"{name}/{dtype}/parameters={parameters}", observers, rows
    for name, norm in NORMS.items():
        if not norm.tracked:
            observers = {dtype: partial(_modes, norm=norm, dtype=dtype) for dtype in ("float32", "bfloat16")}
            yield "modes", name, observers, ()
