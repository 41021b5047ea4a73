"""Known faults injected into a measurement, to see if they are found: more time, memory or CPU time."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnsuite.cases import Step
    from bnsuite.measure.devices import Device


#: The fault of all timed cases of a run, as JSON.
VARIABLE = "BNSUITE_FAULT"

#: The bytes that a spinning thread works through at once.
SPUN_BYTES = 16 << 20


@dataclass(frozen=True)
class InjectedFault:
    """The fault of one side; by default none.

    `slower` is a share of the step (0.03: every step seems to take 3 % longer). `bytes_held` are held in torch's
    allocator while a step runs. `spins` is a number of threads that compute beside the steps, and nothing of use.
    """

    slower: float = 0.0
    bytes_held: int = 0
    spins: int = 0

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

    def spinning(self) -> threading.Event | None:
        """Starts the threads that spin; they end when the returned event is set. None if there are none."""
        if not self.spins:
            return None
        ended = threading.Event()
        for _ in range(self.spins):
            threading.Thread(target=_spin, args=(ended,), daemon=True).start()
        return ended


def _spin(ended: threading.Event) -> None:
    """Computes until `ended` is set, without Python's lock but for a moment in about ten milliseconds."""
    block = bytes(SPUN_BYTES)
    while not ended.is_set():
        hashlib.sha256(block)


NO_FAULT = InjectedFault()


def of_process() -> InjectedFault:
    """The fault of the run that this process belongs to; its `bytes_held` and `spins` are for comparisons alone."""
    given = os.environ.get(VARIABLE)
    return InjectedFault(**json.loads(given)) if given else NO_FAULT
