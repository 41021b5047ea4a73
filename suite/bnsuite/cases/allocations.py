"""Exact bytes that a step takes from torch's allocators: the one place that counts them, for checks and for measuring.

On a CPU the profiler sees every allocation; any other device's allocator keeps the count itself, behind the same names
in its module of torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StepBytes:
    """Bytes above what a step found: the most at once, and what is left at its end."""

    peak: int
    net: int


def held(step: Callable[[], None], device: str) -> StepBytes:
    """Bytes that one call of `step` holds in the allocator of `device`, named as torch names it."""
    import torch

    kind = torch.device(device).type
    if kind != "cpu":
        return _counted(step, getattr(torch, kind), device)
    live = peak = 0
    for nbytes in _profiled(step):
        live += nbytes
        peak = max(peak, live)
    return StepBytes(peak, live)


def settled_peak(step: Callable[[], None]) -> int:
    """The most bytes that a step holds at once in torch's CPU allocator.

    The first pass lets what one step leaves for the next (gradients that are freed on zero_grad) take its place; the
    second counts.
    """
    _profiled(step)
    return held(step, "cpu").peak


def _profiled(step: Callable[[], None]) -> list[int]:
    """Sizes of the step's allocations (positive) and releases (negative), in order.

    ``torch.profiler`` around the same profiler would import torch._inductor first, 2 s in every process.
    """
    from torch.autograd.profiler import profile

    with profile(use_kineto=True, profile_memory=True) as profiler:
        step()
    assert profiler.kineto_results is not None
    records = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    records.sort(key=lambda event: event.start_ns())
    return [event.nbytes() for event in records]


def operators(step: Callable[[], None]) -> list[str]:
    """Names of the operators of torch that a step calls, in the order in which they end."""
    from torch.autograd.profiler import profile

    with profile(use_kineto=True) as profiler:
        step()
    assert profiler.kineto_results is not None
    return [event.name() for event in profiler.kineto_results.events() if "::" in event.name()]


def _counted(step: Callable[[], None], allocator: Any, device: str) -> StepBytes:
    """The same by an accelerator's own counters; `allocator` is its module of torch, such as ``torch.xpu``."""
    allocator.synchronize(device)
    allocator.reset_peak_memory_stats(device)
    before = allocator.memory_allocated(device)
    step()
    allocator.synchronize(device)
    return StepBytes(allocator.max_memory_allocated(device) - before, allocator.memory_allocated(device) - before)
