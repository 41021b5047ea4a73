"""The quiet surroundings a measured process is started in. What is set is recorded with the run.

The heap is kept, because large CPU tensors are otherwise timed through the allocator's page faults; threads are
fixed, because oversubscription makes times meaningless; a core is reserved, so that the coordinator and the
measured process do not take turns on one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

#: Large enough that no tensor of the catalogue is ever given back to the kernel between two steps.
KEEP_HEAP = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}

#: Set in a user's shell these would change what the launched pytest does.
REMOVED = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")


def variables(threads: int) -> dict[str, str]:
    """What is set for every measured process."""
    return {
        **KEEP_HEAP,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYTHONHASHSEED": "0",
    }


def environment(threads: int, **more: str) -> dict[str, str]:
    """This process's environment, made quiet."""
    kept = {name: value for name, value in os.environ.items() if name not in REMOVED}
    return {**kept, **variables(threads), **more}


def cores() -> list[int]:
    """The cores this process may use, lowest first."""
    return sorted(os.sched_getaffinity(0))


def timed_cores(threads: int, given: list[int]) -> list[int]:
    """The last `threads` of the cores given, where one is left for the coordinator; else none are fixed."""
    return given[-threads:] if len(given) > threads else []


@contextmanager
def coordinator_apart(taken: list[int], given: list[int]) -> Iterator[None]:
    """Keep this process off the cores where time is being measured."""
    rest = set(given) - set(taken)
    if taken and rest:
        os.sched_setaffinity(0, rest)
    try:
        yield
    finally:
        os.sched_setaffinity(0, given)
