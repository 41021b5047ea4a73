"""The growth of memory over hundreds of steps."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from bnsuite.cases.checks.case import CheckNotApplicableError

#: Bytes a step by which a process may seem to grow; a page in a window of steps is 41.
GROWTH = 256.0
WINDOWS, STEPS_A_WINDOW = 3, 100


@contextmanager
def without_collection() -> Iterator[None]:
    """Collects garbage at the end alone. What came inside is of the first generation then: a cycle is no leak."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.collect(0)
    finally:
        if collects:
            gc.enable()


def _resident() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError as error:
        raise CheckNotApplicableError("this kernel does not tell how much a process holds") from error
    return pages * 4096


def resident_per_step(run: Callable[[int], None]) -> float:
    """Returns the resident bytes by which this process grows a step; `run` makes so many steps."""
    run(STEPS_A_WINDOW)
    marks = [_resident()]
    for _ in range(WINDOWS):
        run(STEPS_A_WINDOW)
        marks.append(_resident())
    # A heap grows rarely and in large steps; a leak grows all the time.
    least = min(after - before for before, after in pairwise(marks))
    return max(0, least) / STEPS_A_WINDOW
