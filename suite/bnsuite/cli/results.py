"""Folders of results: what an earlier command left in one, what is written into it, and which is the latest."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bnsuite.cli.options import LATEST
from bnsuite.cli.output import remark, say
from bnsuite.record.errors import InputError

if TYPE_CHECKING:
    from bnsuite.record.schema import Run

#: Where a run puts the lockstep that confirms it.
CONFIRM = "confirm"


def forget_old(folder: Path) -> None:
    """Take away what an earlier run or comparison left in `folder`: it must not stand beside what is measured now.

    Where neither was, whatever lies there is none of ours and stays.
    """
    from bnsuite.launch.session import LOG
    from bnsuite.record import details
    from bnsuite.record.interleaved import LOCKSTEP_FILE, SIDES
    from bnsuite.record.store import RUN_FILE
    from bnsuite.report.writers import WRITERS

    with contextlib.suppress(OSError):
        # A run may be named as a side of a comparison is: only beside the comparison's times it is that side.
        compared = (folder / LOCKSTEP_FILE).exists()
        if not compared and not (folder / RUN_FILE).exists():
            return
        sides = [folder / side for side in SIDES] if compared else []
        pictures = [path for kind in ("svg", "png", "gif") for path in (folder / "figures").glob(f"*.{kind}")]
        timings = (folder / "pytest-benchmark").glob("launch-*.json")
        named = [folder / name for name in (RUN_FILE, LOCKSTEP_FILE, *WRITERS)]
        for old in (*named, *timings, *pictures, *(folder / LOG).glob("*.txt")):
            old.unlink(missing_ok=True)
        details.remove(folder)
        for side in sides:
            shutil.rmtree(side, ignore_errors=True)
        if (folder / CONFIRM / LOCKSTEP_FILE).exists():
            shutil.rmtree(folder / CONFIRM, ignore_errors=True)


def require_sides(folder: Path) -> None:
    """Raise InputError if a run lies in `folder` where a comparison would put one of its sides."""
    from bnsuite.record.files import exists
    from bnsuite.record.interleaved import LOCKSTEP_FILE, SIDES
    from bnsuite.record.store import RUN_FILE

    if exists(folder / LOCKSTEP_FILE):
        return
    for side in SIDES:
        if exists(folder / side / RUN_FILE):
            raise InputError(
                f"{folder / side}: holds a run that is no part of a comparison; choose another folder with --out"
            )


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


@contextlib.contextmanager
def claimed(folder: Path, *, by_time: bool = False) -> Iterator[Path]:
    """A folder for results that no other command writes into meanwhile; its path is what is returned.

    One that is named by the time takes another name where two commands start in one second. InputError if it can't be
    written to, or is another command's; one that was made for this is gone if nothing was put into it.
    """
    folder, new = _made(folder, by_time=by_time)
    with contextlib.ExitStack() as stack:
        try:
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{folder}: another command is writing there; name another folder with --out") from None
        except OSError:  # a file system without locks
            pass
        try:
            yield folder
        except BaseException:
            if new:
                with contextlib.suppress(OSError):  # what is in it stays
                    folder.rmdir()
            raise


def _made(folder: Path, *, by_time: bool) -> tuple[Path, bool]:
    """Make sure of a folder for results, which is returned with whether it was made now."""
    from bnsuite.record.files import exists, make_folder

    new = by_time or not exists(folder)
    if by_time:
        make_folder(folder.parent)
        stem = folder.name
        for number in itertools.count(2):
            try:
                folder.mkdir()
            except FileExistsError:
                folder = folder.with_name(f"{stem}-{number}")
            except OSError:  # told below
                break
            else:
                break
    make_folder(folder)
    return folder, new


def run_alone(where: Path) -> Run:
    """The run in a folder or file; InputError for a side of a comparison: its times are not measured as a run's are."""
    from bnsuite.record import interleaved, store
    from bnsuite.record.files import exists

    folder = store.folder_of(where).resolve()
    if folder.name in interleaved.SIDES and exists(folder.parent / interleaved.LOCKSTEP_FILE):
        raise InputError(
            f"{where}: is a side of a comparison, whose times are no run's; `bnsuite show {folder.parent}` prints its "
            "verdicts, and `bnsuite` alone measures a run"
        )
    return store.load(where)


def print_verdicts(text: str, unwritten: InputError | None) -> InputError | None:
    """Print the verdicts; returns the first of what could not be written, be that the folder or stdout."""
    try:
        say(text)
    except InputError as error:
        return unwritten or error
    return unwritten
