"""The state a step is timed in: warmed up until it has settled, caches emptied where a case asks for that."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from bnsuite.measure import clock

if TYPE_CHECKING:
    from bnsuite.cases import Step

#: A round is long enough for the clock.
ROUND_S = 1e-3
WARM_UP_S = {"cpu": 0.02, "cuda": 0.5}

#: The smallest there are.
PAGE_BYTES = 4096

#: More than the L2 cache of any GPU so far.
FLUSHED_BYTES = 1 << 28


def settle(step: Step, device: str) -> float:
    """Run `step` until it has settled and return about how many seconds one takes."""
    ticks = clock.for_device(device)
    step()  # the first step pays for loading and tuning
    step_s = min(clock.time_rounds(step, ticks, 2))
    end = perf_counter() + WARM_UP_S[device.partition(":")[0]]
    while perf_counter() < end:
        step_s = min(step_s, *clock.time_rounds(step, ticks, 2))
    return max(step_s, 1e-9)


def fill_heap(nbytes: int) -> None:
    """Have the kernel put pages behind `nbytes` of the heap, which keeps them (see ``launch/process/isolation.py``).

    A page that is touched for the first time has to be cleared, and be found by the host of a virtual machine: 8 ms a
    huge page were seen, in the middle of a step of 13 ms.
    """
    import torch

    torch.empty(nbytes, dtype=torch.uint8)[::PAGE_BYTES].zero_()


def flush(device: str) -> Step:
    """What drives everything else out of the L2 cache of `device`; done before the clock starts."""
    import torch

    block = torch.empty(FLUSHED_BYTES, dtype=torch.uint8, device=device)

    def empty() -> None:
        block.zero_()

    return empty
