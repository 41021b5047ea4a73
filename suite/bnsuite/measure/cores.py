"""The start of a process that the outer half measures: it stays on its cores, and ends when the outer half does."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

#: Set in every measured process: its cores, comma-separated, or empty for any.
CORES_VARIABLE = "BNSUITE_CORES"

_PR_SET_PDEATHSIG = 1

#: The cores of this process as it began, before it took its own.
_BEGAN_WITH = frozenset(os.sched_getaffinity(0))


def take() -> None:
    """Takes the given cores, before torch starts threads; does nothing in a process of another's."""
    cores = os.environ.get(CORES_VARIABLE)
    if cores is None:
        return
    # A hanging kernel must not outlive a coordinator that was killed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})


def leave_timed() -> None:
    """Moves the calling thread off the cores that the process is timed on, where it began with others."""
    others = _BEGAN_WITH - os.sched_getaffinity(os.getpid())
    if others:
        with contextlib.suppress(OSError):  # they were taken from it meanwhile
            os.sched_setaffinity(0, others)
