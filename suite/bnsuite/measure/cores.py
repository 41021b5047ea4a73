"""The start of a process that the outer half measures: it stays on its cores, and ends when the outer half does."""

from __future__ import annotations

import ctypes
import os
import signal

#: Set in every measured process: its cores, comma-separated, or empty for any.
CORES_VARIABLE = "BNSUITE_CORES"

_PR_SET_PDEATHSIG = 1


def take() -> None:
    """Takes the given cores, before torch starts threads; does nothing in a process of another's."""
    cores = os.environ.get(CORES_VARIABLE)
    if cores is None:
        return
    # A hanging kernel must not outlive a coordinator that was killed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
