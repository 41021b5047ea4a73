"""Warming a step up until it has settled."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from bnsuite.measure import clock

if TYPE_CHECKING:
    from bnsuite.cases import Step

#: A round is long enough for the clock.
ROUND_S = 1e-3
WARM_UP_S = {"cpu": 0.02, "cuda": 0.5}


def settle(step: Step, device: str) -> float:
    """Run `step` until it has settled and return about how many seconds one takes."""
    ticks = clock.for_device(device)
    step()  # the first step pays for loading and tuning
    step_s = min(clock.time_rounds(step, ticks, 2))
    end = perf_counter() + WARM_UP_S[device.partition(":")[0]]
    while perf_counter() < end:
        step_s = min(step_s, *clock.time_rounds(step, ticks, 2))
    return max(step_s, 1e-9)
