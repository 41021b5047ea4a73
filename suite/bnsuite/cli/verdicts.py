"""The end of every verb that judges: write the verdicts down, print them, and return the exit status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bnsuite.cli.options import ShowOptions
from bnsuite.cli.output import progress, remark, say, say_painted, screen, status_of
from bnsuite.judge import layers
from bnsuite.judge.budget import measured_nothing
from bnsuite.judge.diagnosis import nothing_measured
from bnsuite.judge.verdict import ExitStatus, Finding, Judgement, LayerChange, exit_status
from bnsuite.record import pictures
from bnsuite.record.errors import InputError, WriteError, one_line
from bnsuite.record.folder import REPORT
from bnsuite.report import findings_json, terminal, writers
from bnsuite.report.judged import ComparisonReport, Report, RunReport
from bnsuite.report.section import Section

if TYPE_CHECKING:
    from bnsuite.experiments.ab import ComparisonRequest, ComparisonResult
    from bnsuite.record.host import HostReport
    from bnsuite.record.reference import Reference
    from bnsuite.record.schema import Run

R = TypeVar("R", bound=Report)


def reference_for(run: Run, baselines: Path) -> Reference:
    """The baselines for `run`; a reference without times where the folder is not there."""
    from bnsuite.record import baselines as stored

    if baselines.is_dir():
        return stored.load(baselines, run)
    return stored.without_folder(baselines)


def judged(run: Run, findings: Sequence[Finding], reference: Reference, *, strict: bool) -> Judgement:
    """The findings of a run with the exit status that follows from them, and what differs from the reference."""
    return _judgement(run, findings, reference.name, layers.since(reference, run, findings), strict=strict)


def _judgement(
    run: Run, findings: Sequence[Finding], reference: str, apart: tuple[LayerChange, ...], *, strict: bool
) -> Judgement:
    measured = run.finished and not nothing_measured(run, findings) and not measured_nothing(run)
    status = exit_status(findings, finished=measured, strict=strict)
    return Judgement(
        schema=Judgement.SCHEMA, reference=reference, status=status, findings=tuple(findings), layers=apart
    )


def show_run(report: RunReport, show: ShowOptions, *, written: bool, error: Exception | None = None) -> int:
    """Print the verdicts of a run, once they are in its folder if they are to be `written`; returns the exit status.

    `error` is what ended the run before its end: a regression keeps its status, another has that of the error.
    """
    if error is not None and report.judgement.status is not ExitStatus.REGRESSED:
        report = _with_status(report, ExitStatus(status_of(error)[0]))
    unwritten: InputError | None = error if isinstance(error, WriteError) else None
    if report.folder is not None:
        report = replace(report, host=_host(report.folder))
    if written and unwritten is None and report.folder is not None:
        sections = (*scaling_of(report.run), *claims_of(report.run, report.folder))
        complete = replace(report, sections=sections, pictures=pictures.load(report.folder))
        unwritten = next(iter(writers.write(complete, report.folder)), None)
    return show_report(report, show, unwritten)


def _host(folder: Path) -> HostReport | None:
    """The host before the measuring, for the report; a damaged file spoils no verdict."""
    from bnsuite.record import host

    try:
        return host.load(folder)
    except InputError as error:
        remark(str(error))
        return None


def scaling_of(run: Run) -> tuple[Section, ...]:
    """The report's section on steps of several ranks, if the run has some."""
    from bnsuite.report import scaling

    found = scaling.section(run)
    return () if found is None else (found,)


def claims_of(run: Run, folder: Path) -> tuple[Section, ...]:
    """The report's section on the articles' claims, if the run has trainings; a failure spoils no verdict."""
    if not any(result.curves for result in run.cases):
        return ()
    from bnsuite.articles import tables
    from bnsuite.articles.claims import answers
    from bnsuite.articles.evidence import Evidence
    from bnsuite.record import details

    try:
        return (tables.section(answers(Evidence(run, details.load(folder)))),)
    except Exception as error:  # noqa: BLE001  # the verdicts are what a run is for
        remark(f"{folder / REPORT}: without the claims: {one_line(error)}")
        return ()


def show_report(report: Report, show: ShowOptions, unwritten: InputError | None = None) -> int:
    """Print a report with the exit status as it will be; returns that status.

    `unwritten` is what could not be written of it; a regression keeps its status, whatever that is.
    """
    if unwritten is not None and report.judgement.status is not ExitStatus.REGRESSED:
        report = _with_status(report, ExitStatus.UNUSABLE)
    status = report.judgement.status
    try:
        if show.as_json:
            say(findings_json.text(report.judgement))
        else:
            say_painted(terminal.render(report, screen(show.color), show.detail))
    except InputError as error:
        unwritten = unwritten or error
        status = status if status is ExitStatus.REGRESSED else ExitStatus.UNUSABLE
    if unwritten is not None:
        remark(str(unwritten))
    return status


def _with_status(report: R, status: ExitStatus) -> R:
    return replace(report, judgement=report.judgement.model_copy(update={"status": status}))


def comparison_made(
    request: ComparisonRequest, *, strict: bool = False, stages: bool = True
) -> tuple[ComparisonResult, ComparisonReport, InputError | None]:
    """Make a comparison in its folder, which is claimed, with its progress on stderr; its verdicts are written too.

    Returns it, its report, and why the folder lacks some of it, if it does. A log has its stages with `stages` alone.
    """
    from bnsuite import doctor
    from bnsuite.experiments.ab import compare

    with request.folder.claimed() as folder:
        options = request.options[1]
        host = doctor.taken(doctor.DoctorRequest(options.device, options.threads, folder.path))
        with progress(stages=stages) as notify:
            result = compare(replace(request, folder=folder, host=host), notify)
        apart = layers.between(result.a, result.b)
        judgement = _judgement(result.b, result.findings, result.times.a, apart, strict=strict)
        report = ComparisonReport(result.a, result.b, result.times, judgement, folder.path, host)
        unwritten = next(iter(writers.write(report, folder.path)), None)
    for warning in result.warnings:
        remark(warning)
    return result, report, unwritten


def compared(request: ComparisonRequest) -> ComparisonResult:
    """Makes a comparison for an experiment that needs one; its files are written as far as they can be."""
    return comparison_made(request)[0]


def compared_quietly(request: ComparisonRequest) -> ComparisonResult:
    """Makes one of many comparisons, without lines of its stages in a log."""
    return comparison_made(request, stages=False)[0]
