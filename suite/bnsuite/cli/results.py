"""Folders of results: what an earlier command left in one, what is written into it, and which is the latest."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from bnsuite.cli.options import FINDINGS, LATEST, REPORT
from bnsuite.cli.output import remark
from bnsuite.record.errors import InputError

#: Where a run puts the lockstep that confirms it.
CONFIRM = "confirm"


def forget_old(folder: Path, *, comparison: bool) -> None:
    """Take away what an earlier run or comparison left in `folder`: it must not stand beside what is measured now.

    What a run, or a `comparison`, has written there before it measures stays.
    """
    from bnsuite.record import details
    from bnsuite.record.lockstep import LOCKSTEP_FILE, SIDES
    from bnsuite.record.store import RUN_FILE

    with contextlib.suppress(OSError):
        pictures = [path for kind in ("svg", "png", "gif") for path in (folder / "figures").glob(f"*.{kind}")]
        timings = (folder / "pytest-benchmark").glob("launch-*.json")
        for old in (folder / FINDINGS, folder / REPORT, *timings, *pictures):
            old.unlink(missing_ok=True)
        for one in (folder, *(folder / side for side in SIDES)):
            details.remove(one)
        if comparison:
            (folder / RUN_FILE).unlink(missing_ok=True)
        elif (folder / LOCKSTEP_FILE).exists():
            (folder / LOCKSTEP_FILE).unlink()
            for side in SIDES:
                shutil.rmtree(folder / side, ignore_errors=True)
        if (folder / CONFIRM / LOCKSTEP_FILE).exists():
            shutil.rmtree(folder / CONFIRM, ignore_errors=True)


def write_verdicts(folder: Path, findings: str, report: str) -> InputError | None:
    """Write the findings as JSON and the report into `folder`; returns why that can't be, for verdicts come first."""
    from bnsuite.record.files import write_atomically

    try:
        write_atomically(folder / FINDINGS, findings + "\n")
        write_atomically(folder / REPORT, report)
    except InputError as error:
        return error
    return None


def tell_unwritten(unwritten: InputError | None, status: int) -> None:
    """Raise what could not be written, once the verdicts are printed; a regression keeps its status all the same."""
    from bnsuite.judge.verdict import ExitStatus

    if unwritten is None:
        return
    if status != ExitStatus.REGRESSED:
        raise unwritten
    remark(str(unwritten))


def point_latest_to(folder: Path) -> None:
    """Make results/latest lead to the newest results; where a file system has no links, it just does not exist."""
    with contextlib.suppress(OSError):
        LATEST.unlink(missing_ok=True)
        LATEST.symlink_to(folder.name)


def remove_if_bare(folder: Path) -> None:
    """Take away a folder in which nothing was measured."""
    from bnsuite.record.store import RUN_FILE

    with contextlib.suppress(OSError):
        (folder / RUN_FILE).unlink(missing_ok=True)
        folder.rmdir()
