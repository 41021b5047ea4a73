"""``bnsuite`` alone: measure, judge, print, write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from bnsuite.cli import functions, options
from bnsuite.cli.options import MeasuringOptions, ShowOptions
from bnsuite.cli.output import lines, progress, remark, say, status_of, words
from bnsuite.record.devices import ALL
from bnsuite.record.errors import InputError

if TYPE_CHECKING:
    from bnsuite.experiments.confirm import ConfirmRequest
    from bnsuite.judge.verdict import Finding
    from bnsuite.record.schema import RunOptions

#: Given without an environment, --confirm means that of the baseline.
BASELINE = "baseline"

confirm_option = click.option(
    "--confirm",
    is_flag=False,
    flag_value=BASELINE,
    metavar="[ENVIRONMENT]",
    help="Settle a slowdown by an interleaved comparison with the baseline's release of torch, or with ENVIRONMENT.",
)


@click.command(help="Measure this environment, judge it and print the verdicts.")
@options.measuring_any
@click.option(
    "--impl", metavar="MODULE:FACTORY", help="Judge this batch norm in place of torch's (or FILE.py:FACTORY)."
)
@options.supports("--supports")
@functions.options()
@click.option(
    "--environment",
    default=".",
    metavar="ENVIRONMENT",
    help="Measure this environment: . (this interpreter, the default), python:PATH, torch==X.Y.Z or docker:IMAGE.",
)
@confirm_option
@click.option("--oversubscribe", is_flag=True, help="Time more ranks than there are cores, which then share them.")
@options.budget
@click.option("--dry-run", is_flag=True, help="Print how long it would take, stage by stage, and measure nothing.")
@options.strict
@options.showing
def command(
    given: MeasuringOptions,
    *,
    impl: str | None,
    supports: dict[str, tuple[str, ...]] | None,
    functions: dict[str, str],
    environment: str,
    confirm: str | None,
    oversubscribe: bool,
    budget: float | None,
    dry_run: bool,
    strict: bool,
    show: ShowOptions,
) -> int:
    """Measure one environment and judge it; returns the exit status."""
    from bnsuite import doctor
    from bnsuite.cli.verdicts import judged, reference_for, show_run
    from bnsuite.experiments.confirm import ConfirmRequest
    from bnsuite.experiments.run import RunRequest, planned, run
    from bnsuite.judge.verdict import ExitStatus
    from bnsuite.record.errors import WriteError
    from bnsuite.report.judged import RunReport
    from bnsuite.report.planning import before

    def options_of(given: MeasuringOptions) -> RunOptions:
        more = {"oversubscribe": oversubscribe, "budget_s": budget}
        return given.run_options(impl, environment, supports, functions=functions).model_copy(update=more)

    if given.device == ALL:
        if confirm is not None or budget is not None or dry_run:
            raise InputError(f"--confirm, --budget, --dry-run: not with --device {ALL}; name one GPU, such as cuda:0")
        require_environment("--environment", environment)
        from bnsuite.cli import node

        found = node.devices(environment)
        given = replace(given, device=found[0].name)
        if len(found) > 1:
            return node.command(given, options_of(given), found, strict=strict, show=show)
        remark(f"--device {ALL}: there is one GPU, {found[0].name}, and no peer to compare it with: a plain run")
    run_options = options_of(given)
    require_environment("--environment", environment)
    require_environment("--confirm", confirm)
    if dry_run:
        request = RunRequest(
            run_options, given.folder, given.data, lambda empty: reference_for(empty, given.baselines), None
        )
        say(before(planned(request, lines()), budget))
        return 0
    with given.folder.claimed() as folder:
        host = doctor.taken(doctor.DoctorRequest(given.device, given.threads, folder.path))
        request = RunRequest(run_options, folder, given.data, lambda empty: reference_for(empty, given.baselines), host)
        with progress(stages=not show.quiet) as notify:
            result = run(request, notify)
        folder.point_latest_here()
        for warning in result.warnings:
            remark(warning)
        findings: Sequence[Finding] = result.findings
        if confirm is not None and result.run.finished:
            findings = settled(
                ConfirmRequest(
                    result.run,
                    result.reference,
                    result.findings,
                    confirm,
                    folder,
                    given.data,
                    given.baselines,
                )
            )
        judgement = judged(result.run, findings, result.reference, strict=strict)
        report = RunReport(result.run, judgement, folder=folder.path, reference=result.reference)
        status = show_run(report, show, written=True, error=result.error)
    if result.error is None or isinstance(result.error, WriteError):
        return status
    if status == ExitStatus.REGRESSED:
        remark(status_of(result.error)[1])
        return status
    raise result.error


def require_environment(option: str, name: str | None) -> None:
    """Raise InputError for an environment that is none, or an interpreter that is not there; makes nothing."""
    from bnsuite.launch.environments import Interpreter, parse

    if name is None or (option == "--confirm" and name == BASELINE):
        return
    try:
        environment = parse(name)
        if type(environment) is Interpreter:
            environment.prepare()
    except InputError as error:
        raise InputError(f"{option} {error}") from None


def settled(request: ConfirmRequest) -> Sequence[Finding]:
    """The findings with the verdict of a comparison where the baseline flags a case as slower."""
    from bnsuite.cli.verdicts import compared
    from bnsuite.experiments.confirm import settle

    return settle(request, compared, lambda event: remark(words(event)))
