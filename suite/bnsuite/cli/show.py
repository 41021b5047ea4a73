"""``bnsuite show``: the verdicts of a run or a comparison as they were given."""

from __future__ import annotations

from pathlib import Path

import click

from bnsuite.cli import options
from bnsuite.cli.output import say


@click.command(help=f"Print the verdict table of a run or a comparison again. {options.LAST}")
@options.run_argument
@options.as_json
@options.debug
def command(*, run: Path, as_json: bool) -> int:
    """Print the verdicts; returns the exit status, which is 0 whatever they are."""
    from bnsuite.report import comparison, findings_json, table
    from bnsuite.report.judged import RunReport, load

    report = load(run, options.BASELINES)
    judgement = report.judgement
    if as_json:
        say(findings_json.text(judgement))
    elif isinstance(report, RunReport):
        say(table.terminal(report.run, list(judgement.findings), judgement.status))
    else:
        say(comparison.terminal(report.a, report.b, report.times, list(judgement.findings), judgement.status))
    return 0
