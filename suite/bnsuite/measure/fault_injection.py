"""Known faults injected into a measurement, to see whether they are found: more time, or more memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnsuite.cases import Step
    from bnsuite.measure.devices import Device


@dataclass(frozen=True)
class InjectedFault:
    """The fault of one side; by default none.

    `slower` is a share of the step (0.03: every step seems to take 3 % longer). `bytes_held` are held in torch's
    allocator while a step runs.
    """

    slower: float = 0.0
    bytes_held: int = 0

    def clock(self, seconds: float) -> float:
        """The reading of this side's clock for `seconds`: with a slowdown it runs fast by that share.

        A wait would not be exact: one in each step is too coarse, and one after a round of 0.2 ms made the next round
        slower by up to 0.9 % by itself.
        """
        return seconds * (1 + self.slower)

    def holding(self, step: Step, device: Device) -> Step:
        """`step`, holding `bytes_held` more from its begin to its end."""
        if not self.bytes_held:
            return step
        import torch

        def hold_and_step() -> None:
            held = torch.empty(self.bytes_held, dtype=torch.uint8, device=device.name)
            step()
            del held

        if (captured := getattr(step, "captured_peak_bytes", None)) is not None:
            setattr(hold_and_step, "captured_peak_bytes", captured)  # noqa: B010  # a function declares no attribute
        return hold_and_step


NO_FAULT = InjectedFault()
