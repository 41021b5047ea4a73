"""``bnsuite accept``: make runs the baseline."""

from __future__ import annotations

import argparse

from bnsuite.cli.options import LATEST, add_baselines, baselines_folder, path
from bnsuite.cli.output import say
from bnsuite.record.accept import WHAT

SUMMARY = "make runs the baseline, after showing what changes"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="*",
        type=path,
        default=[LATEST],
        metavar="RUN",
        help=f"folders of runs of one machine; several tell how it drifts (default: {LATEST})",
    )
    add_baselines(parser)
    parser.add_argument("--only", choices=WHAT, help="accept one kind of reference alone")
    parser.add_argument("--dry-run", action="store_true", help="show what would change and write nothing")


def main(options: argparse.Namespace) -> int:
    from bnsuite.judge.gates import judge
    from bnsuite.judge.verdict import Verdict
    from bnsuite.record import accept, baselines, store
    from bnsuite.record.errors import InputError
    from bnsuite.record.files import exists
    from bnsuite.report.table import changes as changes_table

    folder = baselines_folder(options)
    if exists(folder) and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder with --baselines")
    runs = [store.load(one) for one in options.runs]
    # What passes as it is stays as it was accepted: no reference drifts by being accepted again and again.
    judged = [finding for run in runs for finding in judge(run, baselines.load(folder, run))]
    changed = {(finding.case, finding.gate) for finding in judged if finding.verdict is not Verdict.PASS}
    passing = {(finding.case, finding.gate) for finding in judged} - changed
    changes, files = accept.accept(runs, folder, what=[options.only] if options.only else accept.WHAT, keep=passing)
    say(changes_table(changes))
    if options.dry_run:
        say("nothing written (--dry-run)")
        return 0
    accept.write(files)
    for written in files:
        say(f"wrote {written}")
    return 0
