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
from bnsuite.cli.results import run_alone
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
    from bnsuite.record.errors import InputError
    from bnsuite.record.files import exists

    folder = baselines_folder(options)
    if exists(folder) and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder with --baselines")
    runs = [run_alone(one) for one in options.runs]
    with _alone(folder):
        return _accept(runs, folder, options)


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
    from bnsuite.judge.verdict import ExitStatus, Verdict
    from bnsuite.record import accept, baselines
    from bnsuite.record.lines import torch_of
    from bnsuite.report.catalogue import changes as changes_table

    # A case that passes keeps its baseline: no reference drifts by being accepted again and again.
    each = [(place, finding) for place, run in enumerate(runs) for finding in judge(run, baselines.load(folder, run))]
    spoiled = {
        (place, finding.case)
        for place, finding in each
        if finding.gate == timing.GATE and finding.verdict in {Verdict.FAILED, Verdict.INVALID}
    }
    passing = {(place, finding.case, finding.gate) for place, finding in each if finding.verdict is Verdict.PASS}
    what = [options.only] if options.only else accept.WHAT
    changes, files = accept.accept(runs, folder, what=what, keep=passing, spoiled=spoiled)
    for where, run in zip(options.runs, runs, strict=True):
        say(f"{where}: of {run.started}, {run.options.profile}, {run.device}, torch {torch_of(run)}")
    say(changes_table(changes))
    if not files:
        left_out = sum(not change.measured for change in changes)
        more = f"; left out: {left_out} case{'' if left_out == 1 else 's'}, measure them again" if left_out else ""
        say(f"nothing accepted: the baseline stays as it is{more}")
        return ExitStatus.NOT_MEASURED if left_out else ExitStatus.FINE
    if options.dry_run:
        say("nothing written (--dry-run)")
        return 0
    accept.write(files)
    for written in files:
        say(f"wrote {written}")
    return 0
