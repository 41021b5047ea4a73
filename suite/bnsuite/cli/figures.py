"""``bnsuite figures``: the pictures the articles draw, of what was measured."""

from __future__ import annotations

from pathlib import Path

import click

from bnsuite.cli import options
from bnsuite.cli.claims import remark_missing
from bnsuite.cli.output import remark, say


@click.command(help=f"Draw the articles' pictures from a run. {options.LAST}")
@options.run_argument
@click.option("--out", type=options.PATH, metavar="DIR", help="Where the pictures go (default: RUN/figures).")
@options.debug
def command(*, run: Path, out: Path | None) -> int:
    """Draw pictures; returns the exit status."""
    from bnsuite.articles.evidence import Evidence
    from bnsuite.articles.figures import draw
    from bnsuite.record import details, store
    from bnsuite.record.errors import NotMeasuredError
    from bnsuite.record.folder import FIGURES

    where = store.folder_of(run)
    evidence = Evidence(store.load(run), details.load(where))
    remark_missing(evidence, run)
    folder = out or where / FIGURES
    drawn = 0
    for picture in draw(evidence, folder):
        say(f"wrote {picture}")
        drawn += 1
    if not drawn:
        raise NotMeasuredError(f"{run}: holds no training to draw; measure with --profile full")
    remark(f"{drawn} files in {folder}/")
    return 0
