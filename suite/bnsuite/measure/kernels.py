"""The kernels that a step of a case launches, looked at in a pass of its own: nothing of it is timed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnsuite.measure.devices.profiled import LaunchedKernels, ProfilerUnavailableError
from bnsuite.measure.timed_case import build

if TYPE_CHECKING:
    from bnsuite.cases import Case
    from bnsuite.measure.devices import Device

#: Steps before the first that is looked at: an optimizer makes its state, and a library chooses its algorithm.
WARM_STEPS = 2
#: Steps that are looked at, until two of them launched the same: the first batch of an epoch also shuffles the data.
MAX_STEPS = 4


def record(case: Case, device: Device) -> LaunchedKernels:
    """What one step of `case` launches; of a training one batch.

    Raises ProfilerUnavailableError if the profiler can't record, or if no two steps launch the same.
    """
    step = case.timed_unit(build(case, device))
    for _ in range(WARM_STEPS):
        step()
    device.wait()
    seen: list[LaunchedKernels] = []
    for _ in range(MAX_STEPS):
        found = device.launched(step)
        if found in seen:
            return found
        seen.append(found)
    raise ProfilerUnavailableError(f"no two of {MAX_STEPS} steps launch the same {seen[0].of}; nothing to compare")
