"""Known faults, planted into a measurement to see whether it is found: slower by a share, or holding more memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from bnsuite.measure.clock import time_rounds

if TYPE_CHECKING:
    from bnsuite.cases import Step


@dataclass(frozen=True)
class Plant:
    """What is planted; by default nothing.

    `slower` is a share of the step (0.03: every step takes 3 % longer), on a CPU only. `bytes_held` are held in
    torch's allocator while a step runs.
    """

    slower: float = 0.0
    bytes_held: int = 0

    def time(self, step: Step, ticks: Callable[[], Any], iterations: int) -> list[float]:
        """One round of `iterations` steps: seconds a step."""
        if not self.slower:
            return time_rounds(step, ticks, 1, iterations)
        return [time_rounds(self._slowed(step, iterations), ticks, 1)[0] / iterations]

    def _slowed(self, step: Step, iterations: int) -> Step:
        """A round as one step, with a wait at its end: the clock of a wait inside each step would be too coarse."""

        def round_and_wait() -> None:
            begin = perf_counter()
            for _ in range(iterations):
                step()
            now = perf_counter()
            end = now + (now - begin) * self.slower
            while perf_counter() < end:
                pass

        return round_and_wait

    def holding(self, step: Step, device: str) -> Step:
        """`step`, holding `bytes_held` more from its begin to its end."""
        if not self.bytes_held:
            return step
        import torch

        def hold_and_step() -> None:
            held = torch.empty(self.bytes_held, dtype=torch.uint8, device=device)
            step()
            del held

        return hold_and_step
