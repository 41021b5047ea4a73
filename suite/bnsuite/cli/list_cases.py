"""``bnsuite list``: the cases there are."""

from __future__ import annotations

from pathlib import Path

import click

from bnsuite.cli import named_files, options
from bnsuite.cli.output import say, screen
from bnsuite.launch.plan import PLANS


@click.command(
    help="List the cases of the full profile; a run measures those of quick unless told otherwise.",
    short_help="List the cases.",
)
@click.option(
    "--profile", default="full", type=click.Choice(tuple(PLANS)), help="The cases of a profile (default: full)."
)
@options.select
@named_files.cases
@named_files.workloads
@options.data
@options.config
@options.debug
def command(
    *, profile: str, select: str | None, cases: tuple[str, ...], workloads: tuple[str, ...], data_dir: Path | None
) -> int:
    """Print the cases; returns the exit status."""
    from bnsuite.launch.queries import catalogue
    from bnsuite.report.catalogue import cases as cases_table

    select = named_files.chosen(select, cases, workloads)
    planned = catalogue(profile, select, data_dir, case_files=cases, workloads=workloads)
    say(cases_table(planned, screen("never"), each_check=select is not None))
    return 0
