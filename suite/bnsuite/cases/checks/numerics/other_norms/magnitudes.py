"""Magnitudes of values, means, weights and eps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import product

from bnsuite.cases.checks.case import Observation, Observe, Subject
from bnsuite.cases.checks.material.layouts import strided
from bnsuite.cases.checks.material.other_norms import GROUP, INSTANCE, LAYER, RMS, Norm
from bnsuite.cases.checks.numerics.other_norms.norms import FEW, NORMS, Entry, blurred, judged, kept, made, uneven

EPSS = (1e-12, 1e-5, 1e-2)
#: Standard deviations whose square a float32 holds, and a half precision its values.
SCALES = {
    "float32": (1e-15, 1e-6, 1e-3, 1e3, 1e10, 1e17),
    "bfloat16": (1e-15, 1e-3, 1e3, 1e17),
    "float16": (1e-6, 1e-3, 1e2, 1e4),
}
#: Mean over standard deviation, where a precision still holds some of the spread.
RATIOS = {"float32": (100.0, 2e3, 1e5), "float64": (1e5,), "float16": (100.0,), "bfloat16": (30.0,)}
#: One value of a slice over the standard deviation of the others.
PEAKS = {"float32": (1e3, 1e6), "float16": (1e3, 3e4), "bfloat16": (1e3, 1e6)}


def _settings(subject: Subject, *, norm: Norm, dtype: str = "float32") -> Iterator[Observation]:
    """Slices whose variance is far above, near and far under eps."""
    import torch

    count = norm.rows(subject.randn(*norm.shape)).shape[0]
    x = uneven(subject, norm, torch.logspace(-3, 2, count, dtype=torch.float64, device=subject.device)[:, None])
    layer = made(subject, norm)
    if norm.tracked:
        layer.get_buffer("running_var").mul_(torch.logspace(-6, 4, norm.shape[1], device=subject.device))
        layer.get_buffer("running_mean").fill_(0.25)
    layer.to(getattr(torch, dtype))
    yield from judged(norm, layer, x.to(getattr(torch, dtype)), subject.randn(*norm.shape, seed=1, dtype=dtype))


def _scaled(subject: Subject, *, norm: Norm, dtype: str, scale: float) -> Iterator[Observation]:
    import torch

    layer = made(subject, replace(norm, affine=False))
    if norm.tracked:
        layer.get_buffer("running_mean").mul_(scale / 8)
        layer.get_buffer("running_var").mul_(min(scale**2, 1e37))
    x = uneven(subject, norm, scale).to(getattr(torch, dtype))
    yield from judged(norm, layer, x, subject.randn(*norm.shape, seed=1, dtype=dtype))


def _peaked(subject: Subject, *, norm: Norm, dtype: str, peak: float) -> Iterator[Observation]:
    """One value of every second slice is far larger than the others."""
    import torch

    rows = norm.rows(subject.randn(*norm.shape, mean=0.25, std=1.0)).clone()
    rows[::2, 1] = peak
    x = norm.unrows(rows, torch.Size(norm.shape)).contiguous().to(getattr(torch, dtype))
    dy = subject.randn(*norm.shape, seed=1, dtype=dtype)
    yield from blurred(norm, made(subject, norm, kept(norm, dtype)), x, dy)


def _shifted(subject: Subject, *, norm: Norm, dtype: str, ratio: float, layout: str) -> Iterator[Observation]:
    """Slices at `ratio` standard deviations from zero, of either sign."""
    import torch

    rows = norm.rows(subject.randn(*norm.shape, mean=0.0, std=1.0)).clone()
    signs = 1.0 - 2.0 * (torch.arange(rows.shape[0], device=subject.device) % 2)
    x = norm.unrows(rows + ratio * signs[:, None], torch.Size(norm.shape)).contiguous()
    layer = made(subject, norm, kept(norm, dtype))
    dy = subject.randn(*norm.shape, seed=1, dtype=dtype)
    yield from blurred(norm, layer, strided(x.to(getattr(torch, dtype)), layout), strided(dy, layout))


def entries() -> Iterator[Entry]:
    for name, norm in NORMS.items():
        given = {f"eps={eps:g}": replace(norm, eps=eps) for eps in EPSS} | {"affine=off": replace(norm, affine=False)}
        if norm.kind == LAYER:
            given["bias=off"] = replace(norm, bias=False)
        observers: dict[str, Observe] = {what: partial(_settings, norm=one) for what, one in given.items()}
        if norm.kind == RMS:
            observers |= {
                f"eps=own/{dtype}": partial(_settings, norm=replace(norm, eps=None), dtype=dtype) for dtype in SCALES
            }
        yield "settings", name, observers, ("N64",)
    for (name, norm), (dtype, scales) in product(FEW.items(), SCALES.items()):
        observers = {f"std={scale:g}": partial(_scaled, norm=norm, dtype=dtype, scale=scale) for scale in scales}
        rows = ("L07",) if norm.kind == INSTANCE and dtype == "float16" else ()
        yield "scales", f"{name}/{dtype}", observers, rows
        if norm.by_batch:
            observers = {f"{peak:g}": partial(_peaked, norm=norm, dtype=dtype, peak=peak) for peak in PEAKS[dtype]}
            yield "peaks", f"{name}/{dtype}", observers, ()
    for (name, norm), (dtype, ratios) in product(NORMS.items(), RATIOS.items()):
        if norm.kind != RMS and norm.by_batch and ("2d" in name or dtype == "float32"):
            for layout in ("contiguous", "channels-last") if "2d" in name else ("contiguous",):
                observe = partial(_shifted, norm=norm, dtype=dtype, layout=layout)
                observers = {f"mean={ratio:g}std": partial(observe, ratio=ratio) for ratio in ratios}
                yield (
                    "offsets",
                    f"{name}/{dtype}/{layout}",
                    observers,
                    ("L03", "N27") if norm.kind == GROUP else ("N27",),
                )
