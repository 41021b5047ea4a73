"""Checks of the disk: room for results, and for the temporary files of measured processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bnsuite.doctor.host import DoctorRequest, Host
from bnsuite.doctor.result import Result, Subject, judged

#: A full run with logs, or all data sets as they are made, take some hundred MiB.
MIN_FREE_BYTES, MIN_FREE_INODES = 1 << 30, 1000


@dataclass(frozen=True)
class DiskFacts:
    """The host and the folders that are written to."""

    host: Host
    request: DoctorRequest


def probe(host: Host, request: DoctorRequest) -> DiskFacts:
    """Nothing to look at before the folders themselves."""
    return DiskFacts(host, request)


def _check(folder_of: Callable[[DoctorRequest], Path], kind: str) -> Callable[[DiskFacts], Result]:
    def check(facts: DiskFacts) -> Result:
        folder = folder_of(facts.request)
        room = facts.host.room(folder)
        full = room.free_bytes < MIN_FREE_BYTES or (room.inodes is not None and room.inodes < MIN_FREE_INODES)
        return judged(
            f"free-{kind}" if room.writable else f"writable-{kind}",
            disturbed=full or not room.writable,
            folder=str(folder),
            free_bytes=room.free_bytes,
            free_inodes=room.inodes,
            writable=room.writable,
        )

    return check


def loadable(facts: DiskFacts) -> Result:
    """Compiled steps are written to the folder of temporary files, and loaded from there."""
    room = facts.host.room(facts.request.scratch)
    return judged(
        "exec-scratch", disturbed=not room.executable, folder=str(facts.request.scratch), executable=room.executable
    )


SUBJECT = Subject(
    "disk",
    probe,
    {
        "disk-results": _check(lambda request: request.results, "results"),
        "disk-scratch": _check(lambda request: request.scratch, "scratch"),
        "disk-exec": loadable,
    },
)
