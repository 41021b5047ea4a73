"""``bnsuite show``: the verdicts of a run or a comparison as they were given."""

from __future__ import annotations

from pathlib import Path

import click

from bnsuite.cli import options
from bnsuite.cli.output import say
from bnsuite.record.errors import InputError
from bnsuite.record.folder import ResultsFolder


@click.command(help=f"Print the verdict table of a run or a comparison again. {options.LAST}")
@options.run_argument
@options.as_json
@options.debug
def command(*, run: Path, as_json: bool) -> int:
    """Print the verdicts; returns the exit status, which is 0 whatever they are."""
    from bnsuite.record import store

    folder = ResultsFolder(store.folder_of(run))
    if folder.is_comparison:
        _show_comparison(folder, as_json=as_json)
    else:
        _show_run(run, folder, as_json=as_json)
    return 0


def _show_run(where: Path, folder: ResultsFolder, *, as_json: bool) -> None:
    from bnsuite.judge.verdict import Judgement
    from bnsuite.record import store
    from bnsuite.record.files import exists, read_text
    from bnsuite.record.folder import FINDINGS
    from bnsuite.report import table

    run = store.load(where)
    path = folder.path / FINDINGS
    if not exists(path):
        raise InputError(f"{path}: there are no verdicts yet; `bnsuite check {where}` prints them")
    text = read_text(path, "verdicts")
    judgement = store.parse(Judgement, text, path)
    say(text.rstrip() if as_json else table.terminal(run, list(judgement.findings), judgement.status))


def _show_comparison(folder: ResultsFolder, *, as_json: bool) -> None:
    """Print the verdicts; a comparison that was killed before them is judged by what it left."""
    from bnsuite.cli.verdicts import judged
    from bnsuite.judge.comparison import judge
    from bnsuite.judge.verdict import Judgement
    from bnsuite.record import interleaved, pins, store
    from bnsuite.record.files import exists, read_text
    from bnsuite.record.folder import FINDINGS, SIDES
    from bnsuite.report import comparison, findings_json

    a, b = (store.load(folder.path / side) for side in SIDES)
    times = interleaved.load(folder.path)
    path = folder.path / FINDINGS
    if exists(path):
        text = read_text(path, "verdicts").rstrip()
        judgement = store.parse(Judgement, text, path)
    else:
        judgement = judged(b, judge(a, b, times, pins.read(options.BASELINES)), times.a, strict=False)
        text = findings_json.text(judgement)
    say(text if as_json else comparison.terminal(a, b, times, list(judgement.findings), judgement.status))
