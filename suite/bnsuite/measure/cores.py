"""The cores a measured process runs on: the outer half chooses, the process takes them before torch starts threads."""

from __future__ import annotations

import os

CORES_VARIABLE = "BNSUITE_CORES"


def take() -> None:
    """Stay on the cores the outer half gave, if it gave any."""
    cores = os.environ.get(CORES_VARIABLE)
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
