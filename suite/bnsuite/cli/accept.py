"""``bnsuite accept``: make runs the baseline."""

from __future__ import annotations

import argparse
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bnsuite.cli.options import LAST, add_baselines, baselines_folder, last_run, path
from bnsuite.cli.output import say
from bnsuite.record.accept import WHAT

if TYPE_CHECKING:
    from bnsuite.record.schema import Run

SUMMARY = "make runs the baseline, after showing what changes"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="*",
        type=path,
        default=[last_run()],
        metavar="RUN",
        help=f"folders of runs of one machine; several tell how it drifts (default: {LAST})",
    )
    add_baselines(parser)
    parser.add_argument("--only", choices=WHAT, help="accept one kind of reference alone")
    parser.add_argument("--dry-run", action="store_true", help="show what would change and write nothing")


def main(options: argparse.Namespace) -> int:
    from bnsuite.record import store
    from bnsuite.record.errors import InputError
    from bnsuite.record.files import exists

    folder = baselines_folder(options)
    if exists(folder) and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder with --baselines")
    runs = [store.load(one) for one in options.runs]
    for one in options.runs:
        _make_sure_of_times(store.folder_of(one))
    with _alone(folder):
        return _accept(runs, folder, options)


def _make_sure_of_times(folder: Path) -> None:
    """Raise InputError for the side of a comparison into which a fault was planted."""
    from bnsuite.record import lockstep
    from bnsuite.record.errors import InputError
    from bnsuite.record.files import exists

    compared, side = folder.resolve().parent, folder.resolve().name
    if side != lockstep.SIDES[1] or not exists(compared / lockstep.LOCKSTEP_FILE):
        return
    if plant := lockstep.load(compared).plant:
        said = ", ".join(f"{name}={amount:g}" for name, amount in plant.items())
        raise InputError(f"{folder}: was measured with --plant {said}; name a run without a fault")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else accepts into `folder` meanwhile, if it is there and its file system knows locks."""
    with ExitStack() as stack:
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _accept(runs: list[Run], folder: Path, options: argparse.Namespace) -> int:
    from bnsuite.judge import timing
    from bnsuite.judge.gates import judge
    from bnsuite.judge.verdict import Verdict
    from bnsuite.record import accept, baselines
    from bnsuite.record.lines import torch_of
    from bnsuite.report.table import changes as changes_table

    # What passes as it is stays as it was accepted: no reference drifts by being accepted again and again.
    each = [(place, finding) for place, run in enumerate(runs) for finding in judge(run, baselines.load(folder, run))]
    judged = [finding for _, finding in each]
    spoiled = {
        (place, finding.case)
        for place, finding in each
        if finding.gate == timing.GATE and finding.verdict in {Verdict.FAILED, Verdict.INVALID}
    }
    changed = {(finding.case, finding.gate) for finding in judged if finding.verdict is not Verdict.PASS}
    passing = {(finding.case, finding.gate) for finding in judged} - changed
    what = [options.only] if options.only else accept.WHAT
    changes, files = accept.accept(runs, folder, what=what, keep=passing, spoiled=spoiled)
    for where, run in zip(options.runs, runs, strict=True):
        say(f"{where}: of {run.started}, {run.asked.profile}, {run.device}, torch {torch_of(run)}")
    say(changes_table(changes))
    if options.dry_run:
        say("nothing written (--dry-run)")
        return 0
    accept.write(files)
    for written in files:
        say(f"wrote {written}")
    return 0
