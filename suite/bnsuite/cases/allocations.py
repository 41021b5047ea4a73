"""Bytes that a step takes from torch's allocators, exact: on a CPU the profiler sees every allocation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Held:
    """Bytes above what a step found: the most at once, and what is left at its end."""

    peak: int
    net: int


def held(step: Callable[[], None], device: str) -> Held:
    """What one call of `step` holds, in the allocator of `device`: "cpu" or "cuda:N"."""
    if device.startswith("cuda"):
        return _on_gpu(step, device)
    live = peak = 0
    for nbytes in _profiled(step):
        live += nbytes
        peak = max(peak, live)
    return Held(peak, live)


def settled_peak(step: Callable[[], None]) -> int:
    """The most a step holds at once in torch's CPU allocator.

    The first pass settles what one step leaves for the next (gradients that are freed on zero_grad); the second
    counts.
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


def _on_gpu(step: Callable[[], None], device: str) -> Held:
    import torch

    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    torch.cuda.synchronize(device)
    return Held(torch.cuda.max_memory_allocated(device) - before, torch.cuda.memory_allocated(device) - before)
