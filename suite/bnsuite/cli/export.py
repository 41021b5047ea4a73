"""``bnsuite export``: a judged run or comparison in the formats of CI services, dashboards and trackers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bnsuite.cli import options
from bnsuite.cli.output import remark, say
from bnsuite.report.exports.registry import EXPORTS, Export

if TYPE_CHECKING:
    from bnsuite.report.judged import Report


def _flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give the verb a flag per format."""
    for one in reversed(EXPORTS):
        help_text = f"{one.file or 'Printed'}: {one.consumer}."
        if one.within is not None:
            help_text += f" Appended to ${options.SUMMARY_VARIABLE} where that is set."
        function = click.option(f"--{one.name}", one.name.replace("-", "_"), is_flag=True, help=help_text)(function)
    return function


@click.command(
    help=f"Write a judged run or comparison in the formats of other tools. {options.LAST} Files go into that folder, "
    "and their paths are printed.",
    short_help="Write results for CI, dashboards and trackers.",
    epilog="Exit status: 0 all written, 2 unusable input. The verdicts do not change it.",
)
@options.run_argument
@_flags
@click.option("--all", "every", is_flag=True, help="Write all files.")
@click.option("--out", type=options.PATH, metavar="DIR", help="Write into this folder instead.")
@click.option("--strict", is_flag=True, help="In JUnit, INCONCLUSIVE is a failure instead of a skipped test.")
@options.debug
def command(*, run: Path, every: bool, out: Path | None, strict: bool, **flags: bool) -> int:
    """Write the exports that were asked for; returns the exit status, which is 0 whatever the verdicts are."""
    from bnsuite.record.errors import InputError
    from bnsuite.record.files import make_folder
    from bnsuite.record.store import folder_of
    from bnsuite.report.judged import load

    chosen = [one for one in EXPORTS if flags[one.name.replace("-", "_")] or (every and one.file is not None)]
    if not chosen:
        names = ", ".join(f"--{one.name}" for one in EXPORTS)
        raise InputError(f"no format is asked for; choose from {names}, or --all for all files")
    report = load(run, options.BASELINES)
    folder = out or folder_of(run)
    if any(one.file is not None for one in chosen):
        make_folder(folder)
    unwritten = []
    for one in chosen:
        try:
            say(_made(one, report, folder, strict=strict))
        except InputError as error:  # one that can't be written costs no other
            unwritten.append(str(error))
    for line in unwritten:
        remark(line)
    return 2 if unwritten else 0


def _made(export: Export, report: Report, folder: Path, *, strict: bool) -> str:
    """Returns what is printed of an export: the path of its file, or the export itself."""
    from bnsuite.report.exports import files

    if export.file is None:
        return files.rendered(export, report, strict=strict).rstrip("\n")
    return str(files.write(export, report, folder, strict=strict, shared=options.step_summary()))
