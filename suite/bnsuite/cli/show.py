"""``bnsuite show``: a run's verdicts as they were given."""

from __future__ import annotations

import argparse

from bnsuite.cli.options import FINDINGS, add_run
from bnsuite.cli.output import say
from bnsuite.record.errors import InputError

SUMMARY = "a run's verdict table again"


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON instead of the table")


def main(options: argparse.Namespace) -> int:
    from bnsuite.judge.verdict import Judgement
    from bnsuite.record import store
    from bnsuite.record.files import read_text
    from bnsuite.report.table import terminal

    run = store.load(options.run)
    path = (options.run if options.run.is_dir() else options.run.parent) / FINDINGS
    if not path.exists():
        raise InputError(f"{path}: there are no verdicts yet; `bnsuite check {options.run}` judges it")
    text = read_text(path, "verdicts")
    judgement = store.parse(Judgement, text, path)
    say(text.rstrip() if options.json else terminal(run, list(judgement.findings), judgement.status))
    return 0
