"""A process that the outer half measures: it stays on the cores it was given, and ends when the outer half does."""

from __future__ import annotations

import ctypes
import os
import signal

#: Set in every measured process: its cores, comma-separated, or nothing.
CORES_VARIABLE = "BNSUITE_CORES"

_PR_SET_PDEATHSIG = 1


def take() -> None:
    """Settle in, before torch starts threads; does nothing in a process that nobody measures."""
    cores = os.environ.get(CORES_VARIABLE)
    if cores is None:
        return
    # A hanging kernel must not outlive a coordinator that was killed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
