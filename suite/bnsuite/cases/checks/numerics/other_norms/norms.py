"""The norms that are checked, and steps of them against two-pass arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from bnsuite.cases.checks.case import Observation, Observe, Subject
from bnsuite.cases.checks.material.arithmetic import LIMIT, compare, compare_blurred, jogged
from bnsuite.cases.checks.material.other_norms import GROUP, INSTANCE, LAYER, RMS, Norm, step_of

if TYPE_CHECKING:
    import torch
    from torch import nn

HALVES = ("float16", "bfloat16")
SHAPES: dict[str, tuple[int, ...]] = {
    "nc": (6, 24),
    "1d": (5, 8, 9),
    "2d": (4, 8, 5, 6),
    "3d": (3, 8, 3, 4, 5),
}
#: A rule, the rest of the name of a case, its observers and its rows.
Entry = tuple[str, str, Mapping[str, Observe], tuple[str, ...]]


def all_norms() -> Iterator[tuple[str, Norm]]:
    """Yields every norm of inputs of every rank, by the words of a name."""
    for kind in (LAYER, RMS, GROUP, INSTANCE):
        for dimensions, shape in SHAPES.items():
            if kind != INSTANCE:
                yield f"{kind}/{dimensions}", Norm(kind, shape)
            elif dimensions != "nc":
                for training, tracked in ((True, False), (True, True), (False, True)):
                    mode, kept = ("train" if training else "eval"), ("tracked" if tracked else "untracked")
                    yield f"{kind}/{dimensions}/{mode}/{kept}", Norm(kind, shape, training, tracked)
        if kind in {LAYER, RMS}:
            yield f"{kind}/last-axis", Norm(kind, (3, 7, 24), axis=2)


NORMS = dict(all_norms())
#: One of each kind and mode, for what does not depend on the rank of the input.
FEW = {name: norm for name, norm in NORMS.items() if "/2d" in name}


def made(subject: Subject, norm: Norm, dtype: str = "float32") -> nn.Module:
    import torch

    return norm.module(subject).to(getattr(torch, dtype))


def kept(norm: Norm, dtype: str) -> str:
    """Returns the precision of parameters and buffers for inputs of `dtype`: of the input where its digits are lost.

    Layer norm rounds the gradients of float32 parameters to a half precision's, which ``step`` holds against it.
    """
    return dtype if norm.kind == LAYER or dtype == "float64" else "float32"


def judged(norm: Norm, layer: nn.Module, x: torch.Tensor, dy: torch.Tensor, prefix: str = "") -> Iterator[Observation]:
    """Compares a step by slices with two-pass arithmetic, and what it keeps."""
    exact, rounded = (norm.reference(layer, x, dy, exact=one) for one in (True, False))
    seen = step_of(layer, x, dy)
    limit = 1000.0 if x.dtype.itemsize == 8 else LIMIT  # float64 has no more exact reference
    yield from compare(*map(norm.by_slice, (seen, exact, rounded)), limit=limit, prefix=prefix)


def blurred(norm: Norm, layer: nn.Module, x: torch.Tensor, dy: torch.Tensor) -> Iterator[Observation]:
    """Compares a step where rounding the input itself may make a larger error than two-pass arithmetic does."""
    exact, rounded = (norm.reference(layer, x, dy, exact=one) for one in (True, False))
    blurred = norm.reference(layer, jogged(x), dy, exact=True)
    seen = step_of(layer, x, dy)
    yield from compare_blurred(*map(norm.by_slice, (seen, exact, rounded, blurred)))


def uneven(subject: Subject, norm: Norm, scales: torch.Tensor | float) -> torch.Tensor:
    """Returns an input in float64 whose slices have these standard deviations, and means of a quarter of them."""
    rows = norm.rows(subject.randn(*norm.shape, mean=0.25, std=1.0, dtype="float64"))
    return norm.unrows(rows * scales, rows.new_empty(norm.shape).shape).contiguous()
