"""``bnsuite show``: the verdicts of a run or a comparison as they were given."""

from __future__ import annotations

import argparse

from bnsuite.cli.options import FINDINGS, add_run
from bnsuite.cli.output import say
from bnsuite.record.errors import InputError

SUMMARY = "the verdict table of a run or a comparison again"


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON instead of the table")


def main(options: argparse.Namespace) -> int:
    from bnsuite.judge.verdict import Judgement
    from bnsuite.record import lockstep, store
    from bnsuite.record.files import exists, read_text
    from bnsuite.report import comparison, table

    folder = store.folder_of(options.run)
    compared = exists(folder / lockstep.LOCKSTEP_FILE)
    run = store.load(folder / lockstep.SIDES[1] if compared else options.run)
    path = folder / FINDINGS
    if not path.exists():
        raise InputError(f"{path}: there are no verdicts yet; `bnsuite check {options.run}` judges it")
    text = read_text(path, "verdicts")
    judgement = store.parse(Judgement, text, path)
    findings, status = list(judgement.findings), judgement.status
    if options.json:
        say(text.rstrip())
    elif compared:
        trusted = store.load(folder / lockstep.SIDES[0])
        say(comparison.terminal(trusted, run, lockstep.load(folder), findings, status))
    else:
        say(table.terminal(run, findings, status))
    return 0
