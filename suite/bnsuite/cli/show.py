"""``bnsuite show``: the verdicts of a run or a comparison as they were given."""

from __future__ import annotations

from pathlib import Path

import click

from bnsuite.cli import options
from bnsuite.cli.options import ShowOptions


@click.command(help=f"Print the verdicts of a run or a comparison again. {options.LAST}")
@options.run_argument
@options.showing
@options.debug
def command(*, run: Path, show: ShowOptions) -> int:
    """Print the verdicts; returns the exit status, which is 0 whatever they are."""
    from bnsuite.cli.verdicts import show_report
    from bnsuite.record.folder import ResultsFolder
    from bnsuite.report.judged import load

    if ResultsFolder(run).is_node:
        from bnsuite.cli.node import show_node
        from bnsuite.report import node

        show_node(node.load(run), show)
        return 0
    show_report(load(run, options.BASELINES), show)
    return 0
