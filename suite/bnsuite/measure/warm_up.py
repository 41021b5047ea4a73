"""Warm-up: a step runs until its time has settled, and the heap gets its pages before anything is timed."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from bnsuite.cases.execution import TimedBy

if TYPE_CHECKING:
    from bnsuite.cases import Step
    from bnsuite.measure.devices import Device

#: The smallest pages there are.
PAGE_BYTES = 4096
#: No step is shorter.
MIN_STEP_S = 1e-9


#: On a device with a queue, steps of a round while it is warmed up, and seconds beyond which one step is enough.
QUEUED_STEPS, LONG_STEP_S = 10, 1e-3


def warm_up(step: Step, device: Device, by: TimedBy = TimedBy.DEVICE) -> float:
    """Runs `step` for the device's warm-up time and returns about how many seconds one takes, of the time `by`."""
    device.warm_clocks()
    step()  # the first step pays for loading and tuning
    step_s = min(device.time_rounds(step, 2, by=by).device_s)
    iterations = QUEUED_STEPS if device.holds_queue and step_s < LONG_STEP_S else 1
    end = perf_counter() + device.warm_up_s
    while perf_counter() < end:
        step_s = min(step_s, *device.time_rounds(step, 2, iterations, by=by).device_s)
    return max(step_s, MIN_STEP_S)


def fill_heap(nbytes: int) -> None:
    """Makes the kernel put pages behind `nbytes` of the heap, which keeps them (the heap settings see to that).

    The kernel clears a page when it is first touched, and the host of a virtual machine has to find it: this took 8 ms
    per huge page, in the middle of a step of 13 ms.
    """
    import torch

    torch.empty(nbytes, dtype=torch.uint8)[::PAGE_BYTES].zero_()
