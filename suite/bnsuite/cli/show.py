"""``bnsuite show``: the verdicts of a run or a comparison as they were given."""

from __future__ import annotations

import argparse
from pathlib import Path

from bnsuite.cli.options import add_run, baselines_folder
from bnsuite.cli.output import say
from bnsuite.record.errors import InputError

SUMMARY = "the verdict table of a run or a comparison again"


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON instead of the table")
    parser.set_defaults(baselines=None)


def main(options: argparse.Namespace) -> int:
    from bnsuite.record import interleaved, store
    from bnsuite.record.files import exists

    folder = store.folder_of(options.run)
    if exists(folder / interleaved.LOCKSTEP_FILE):
        _show_comparison(folder, options)
    else:
        _show_run(folder, options)
    return 0


def _show_run(folder: Path, options: argparse.Namespace) -> None:
    from bnsuite.judge.verdict import Judgement
    from bnsuite.record import store
    from bnsuite.record.files import exists, read_text
    from bnsuite.report import table
    from bnsuite.report.writers import FINDINGS

    run = store.load(options.run)
    path = folder / FINDINGS
    if not exists(path):
        raise InputError(f"{path}: there are no verdicts yet; `bnsuite check {options.run}` prints them")
    text = read_text(path, "verdicts")
    judgement = store.parse(Judgement, text, path)
    say(text.rstrip() if options.json else table.terminal(run, list(judgement.findings), judgement.status))


def _show_comparison(folder: Path, options: argparse.Namespace) -> None:
    """Print the verdicts; one that was killed before them is judged by what it left."""
    from bnsuite.judge.verdict import Judgement
    from bnsuite.record import interleaved, pins, store
    from bnsuite.record.files import exists, read_text
    from bnsuite.report import comparison, findings_json
    from bnsuite.report.writers import FINDINGS

    a, b = (store.load(folder / side) for side in interleaved.SIDES)
    times = interleaved.load(folder)
    path = folder / FINDINGS
    if exists(path):
        text = read_text(path, "verdicts")
        judgement = store.parse(Judgement, text, path)
    else:
        from bnsuite.cli.comparing import verdicts

        judgement = verdicts(a, b, times, pins.read(baselines_folder(options)))
        text = findings_json.text(judgement)
    say(text.rstrip() if options.json else comparison.terminal(a, b, times, list(judgement.findings), judgement.status))
