"""``bnsuite report``: a run or a comparison as one HTML page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bnsuite.cli import options
from bnsuite.cli.output import remark, say

if TYPE_CHECKING:
    from bnsuite.record.reference import Reference
    from bnsuite.report.judged import RunReport


@click.command(help=f"Write the HTML report of a run or a comparison. {options.LAST}")
@options.run_argument
@click.option("--out", type=options.PATH, metavar="FILE", help="The page (default: RUN/report.html).")
@options.baselines_unchecked
@options.debug
@click.pass_context
def command(context: click.Context, *, run: Path, out: Path | None, baselines: Path) -> int:
    """Write the page; returns the exit status, which is 0 whatever the verdicts are."""
    from bnsuite.cli.verdicts import claims_of, scaling_of
    from bnsuite.record import pictures, store
    from bnsuite.record.errors import InputError
    from bnsuite.record.files import write_atomically
    from bnsuite.record.folder import REPORT_HTML
    from bnsuite.report import html
    from bnsuite.report.judged import RunReport, load

    named = options.on_command_line(context, "baselines")
    if named:
        options.existing_baselines(context, baselines)
    where = store.folder_of(run)
    page = out or where / REPORT_HTML
    if page.is_dir():
        raise InputError(f"--out {page}: is a folder; name a file")
    report = load(run, baselines)
    if isinstance(report, RunReport):
        report = replace(
            report,
            sections=(*scaling_of(report.run), *claims_of(report.run, where)),
            reference=_reference(report, baselines if named else None),
            pictures=pictures.load(where),
        )
    write_atomically(page, html.text(report))
    say(f"wrote {page}")
    return 0


def _reference(report: RunReport, baselines: Path | None) -> Reference | None:
    """The reference that the verdicts name, or the baselines that were named; None where they can't be read."""
    from bnsuite.cli.verdicts import reference_for
    from bnsuite.record import pins, store
    from bnsuite.record.errors import InputError
    from bnsuite.record.files import exists
    from bnsuite.record.folder import RUN
    from bnsuite.record.key import machine_key
    from bnsuite.record.reference import from_run

    named = Path(report.judgement.reference)
    try:
        if baselines is not None:
            return reference_for(report.run, baselines)
        if exists(named / RUN):
            key = machine_key(report.run)
            return from_run(store.load_run(named), report.judgement.reference, key, pins.read(options.BASELINES))
        return reference_for(report.run, named) if named.is_dir() else None
    except InputError as error:
        remark(f"without the values of the baseline: {error}")
        return None
