"""Known faults, planted into a measurement to see whether it is found: slower by a share, or holding more memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnsuite.cases import Step


@dataclass(frozen=True)
class Plant:
    """What is planted; by default nothing.

    `slower` is a share of the step (0.03: every step seems to take 3 % longer). `bytes_held` are held in torch's
    allocator while a step runs.
    """

    slower: float = 0.0
    bytes_held: int = 0

    def clock(self, seconds: float) -> float:
        """What a clock shows for `seconds`: with a slowdown it runs fast by that share.

        A wait would not be exact: one in each step is too coarse, and one after a round of 0.2 ms made the next round
        slower by up to 0.9 % by itself.
        """
        return seconds * (1 + self.slower)

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
