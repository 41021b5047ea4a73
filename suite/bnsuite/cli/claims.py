"""``bnsuite claims``: what the articles claim, and what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bnsuite.cli import options
from bnsuite.cli.output import remark, say, screen

if TYPE_CHECKING:
    from bnsuite.articles.evidence import Evidence


@click.command(help=f"Print the articles' claims, and the evidence of a run for each. {options.LAST}")
@options.run_argument
@options.as_json
@options.debug
def command(*, run: Path, as_json: bool) -> int:
    """Print claims with their evidence; returns the exit status."""
    from bnsuite.articles import tables
    from bnsuite.articles.claims import answers
    from bnsuite.articles.evidence import Evidence
    from bnsuite.record import details, store
    from bnsuite.record.errors import NotMeasuredError

    evidence = Evidence(store.load(run), details.load(store.folder_of(run)))
    remark_missing(evidence, run)
    answered = answers(evidence)
    if not any(rows for _, rows in answered):
        raise NotMeasuredError(f"{run}: no claim is tried by what it measured; --profile full tries all")
    say(tables.as_json(answered) if as_json else tables.terminal(answered, screen("never")))
    return 0


def remark_missing(evidence: Evidence, run: Path) -> None:
    """Say that the files of some trainings are not there: evidence that only they hold is left out."""
    if lost := evidence.without_details():
        count = f"{len(lost)} training{'' if len(lost) == 1 else 's'}"
        remark(
            f"{run}: trainings/ lacks {count} ({lost[0]}{' ...' if len(lost) > 1 else ''}); what needs them is left out"
        )
