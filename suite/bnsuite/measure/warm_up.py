"""Warm-up: a step runs until its time has settled, and the heap gets its pages before anything is timed."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from bnsuite.measure.clock import time_rounds

if TYPE_CHECKING:
    from bnsuite.cases import Step
    from bnsuite.measure.devices import Device

#: The smallest pages there are.
PAGE_BYTES = 4096
#: No step is shorter.
MIN_STEP_S = 1e-9


def warm_up(step: Step, device: Device) -> float:
    """Runs `step` for the device's warm-up time and returns about how many seconds one takes."""
    step()  # the first step pays for loading and tuning
    step_s = min(time_rounds(step, device.clock, 2))
    end = perf_counter() + device.warm_up_s
    while perf_counter() < end:
        step_s = min(step_s, *time_rounds(step, device.clock, 2))
    return max(step_s, MIN_STEP_S)


def fill_heap(nbytes: int) -> None:
    """Makes the kernel put pages behind `nbytes` of the heap, which keeps them (the heap settings see to that).

    The kernel clears a page when it is first touched, and the host of a virtual machine has to find it: this took 8 ms
    per huge page, in the middle of a step of 13 ms.
    """
    import torch

    torch.empty(nbytes, dtype=torch.uint8)[::PAGE_BYTES].zero_()
