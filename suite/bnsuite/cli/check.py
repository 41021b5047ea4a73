"""``bnsuite check``: judge a run again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bnsuite.cli import options
from bnsuite.cli.options import ShowOptions
from bnsuite.cli.run import confirm_option, require_environment, settled

if TYPE_CHECKING:
    from bnsuite.judge.verdict import Finding
    from bnsuite.record.reference import Reference
    from bnsuite.record.schema import Run


@click.command(help=f"Judge a run again, against baselines or another run. {options.LAST}")
@options.run_argument
@options.baselines_unchecked
@click.option("--against", type=options.PATH, metavar="RUN", help="Another run instead of the baselines.")
@options.strict
@options.showing
@confirm_option
@options.data_unchecked
@options.debug
@click.pass_context
def command(
    context: click.Context,
    *,
    run: Path,
    baselines: Path,
    against: Path | None,
    strict: bool,
    show: ShowOptions,
    confirm: str | None,
    data_dir: Path | None,
) -> int:
    """Judge a run against a reference; returns the exit status."""
    from bnsuite.cli.verdicts import judged, show_run
    from bnsuite.experiments.confirm import ConfirmRequest, flagged
    from bnsuite.judge.gates import judge
    from bnsuite.record import store
    from bnsuite.record.folder import ResultsFolder
    from bnsuite.report.judged import RunReport
    from bnsuite.report.writers import OUTPUTS

    if against is not None and options.on_command_line(context, "baselines"):
        raise click.UsageError("--against: not allowed with --baselines", context)
    require_environment("--confirm", confirm)
    if confirm is not None:
        data_dir = options.existing_data(context, data_dir)
    if against is None:
        baselines = options.existing_baselines(context, baselines)
    loaded = store.load_run(run)
    reference = _reference(loaded, baselines, against)
    findings: Sequence[Finding] = judge(loaded, reference)
    folder = ResultsFolder(store.folder_of(run), OUTPUTS)
    confirming = confirm is not None and bool(flagged(findings))
    if confirm is not None and confirming:
        findings = settled(
            ConfirmRequest(
                loaded, reference, tuple(findings), confirm, folder, data_dir, baselines, measured_here=False
            )
        )
    judgement = judged(loaded, findings, reference, strict=strict)
    report = RunReport(loaded, judgement, folder=folder.path, reference=reference)
    return show_run(report, show, written=confirming)


def _reference(run: Run, baselines: Path, against: Path | None) -> Reference:
    """The baselines, or the run that was named."""
    from bnsuite.cli.verdicts import reference_for
    from bnsuite.record import calibration, pins, store
    from bnsuite.record.key import machine_key
    from bnsuite.record.reference import from_run

    if against is None:
        return reference_for(run, baselines)
    known, calibrated = pins.read(baselines), calibration.judging(baselines, run)
    return from_run(store.load_run(against), str(against), machine_key(run), known, calibrated)
