"""Work in a GPU's stream: marks of time, a queue that can be held back, and captured graphs."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from bnsuite.cases import Step


class CudaMark:
    """A point in a GPU's stream; the difference of two waits for the later one and gives seconds."""

    __slots__ = ("_event",)

    def __init__(self, event: torch.cuda.Event) -> None:
        self._event = event

    def __sub__(self, earlier: CudaMark) -> float:
        self._event.synchronize()
        return self.seconds_since(earlier)

    def seconds_since(self, earlier: CudaMark) -> float:
        """Seconds between two marks that were both reached."""
        return float(earlier._event.elapsed_time(self._event)) / 1e3  # milliseconds to seconds

    def reached(self) -> bool:
        """True if the GPU is through with all work before it; never waits."""
        return bool(self._event.query())


def cuda_event() -> CudaMark:
    """A mark in the current stream of the current GPU."""
    import torch

    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return CudaMark(event)


class CudaQueue:
    """The current stream of one GPU."""

    def __init__(self, name: str) -> None:
        self._name = name

    def spin(self, cycles: int) -> None:
        import torch

        torch.cuda._sleep(cycles)  # noqa: SLF001  # the only kernel of a length that is chosen

    def mark(self) -> CudaMark:
        return cuda_event()

    def wait(self) -> None:
        import torch

        torch.cuda.synchronize(self._name)

    def now_s(self) -> float:
        return perf_counter()


class Captured:
    """A step captured as a graph; a call replays it.

    The graph reads and writes the tensors of the step itself, which this reference keeps alive.
    """

    def __init__(self, graph: torch.cuda.CUDAGraph, step: Step, peak_bytes: int) -> None:
        self._graph, self._step = graph, step
        #: The most bytes that the step held while it was captured: a replay takes nothing from the allocator.
        self.captured_peak_bytes = peak_bytes

    def __call__(self) -> None:
        self._graph.replay()
