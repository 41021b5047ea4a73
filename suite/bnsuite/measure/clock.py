"""Timed rounds, with any clock whose marks subtract to seconds: all that pytest-benchmark asks of a timer as well."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnsuite.cases import Step


@dataclass(frozen=True)
class Rounds:
    """Timed rounds: seconds per step, one value per round."""

    device_s: list[float]
    #: Seconds that the host took to launch a step; None where a step is done when it returns.
    host_s: list[float] | None = None
    #: The queue of the device was held back until all of a round was launched, so that `device_s` has no time of the
    #: host; False if `device_s` is the elapsed time, None where a step is done when it returns.
    held: bool | None = None


def process_cpu_s() -> float:
    """CPU seconds of all threads of this process so far; those of other processes, such as ranks, are not in it.

    Linux adds up what it knew of threads on other cores at their last tick, up to 10 ms ago. Reading the clock of each
    thread first brings that up to date.
    """
    with contextlib.suppress(OSError):
        for thread in os.listdir("/proc/self/task"):  # noqa: PTH208  # without an object per thread
            with contextlib.suppress(OSError):  # it has just ended
                time.clock_gettime(~int(thread) << 3 | 6)  # its clock: CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED
    return time.process_time()


def time_rounds(
    step: Step, clock: Callable[[], Any], rounds: int, iterations: int = 1, setup: Step | None = None
) -> list[float]:
    """Seconds per step, one value for each round of `iterations` steps; `setup` runs before each round, untimed."""
    samples = []
    for _ in range(rounds):
        if setup is not None:
            setup()
        begin = clock()
        for _ in range(iterations):
            step()
        samples.append((clock() - begin) / iterations)
    return samples
