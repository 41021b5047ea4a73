"""Clocks: two marks subtract to seconds, which is all that pytest-benchmark asks of a timer."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class CudaMark:
    """A point in a GPU's stream; the difference of two waits for the later one and gives seconds."""

    __slots__ = ("_event",)

    def __init__(self, event: torch.cuda.Event) -> None:
        self._event = event

    def __sub__(self, earlier: CudaMark) -> float:
        self._event.synchronize()
        return float(earlier._event.elapsed_time(self._event)) / 1e3  # milliseconds to seconds


def cuda_event() -> CudaMark:
    """A mark in the current stream of the current GPU."""
    import torch

    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return CudaMark(event)


def for_device(device: str) -> Callable[[], Any]:
    """The clock of a device: CUDA events on a GPU, ``perf_counter`` on a CPU."""
    return cuda_event if device.startswith("cuda") else perf_counter


def time_rounds(step: Callable[[], None], clock: Callable[[], Any], rounds: int, iterations: int = 1) -> list[float]:
    """Seconds a step took, one value a round of `iterations` steps."""
    samples = []
    for _ in range(rounds):
        begin = clock()
        for _ in range(iterations):
            step()
        samples.append((clock() - begin) / iterations)
    return samples
