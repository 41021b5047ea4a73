"""The end of every verb that judges: write the verdicts down, print them, and return the exit status."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bnsuite.cli.output import progress, remark, say, status_of
from bnsuite.judge.diagnosis import nothing_measured
from bnsuite.judge.verdict import ExitStatus, Finding, Judgement, exit_status
from bnsuite.record.errors import InputError, WriteError, one_line
from bnsuite.record.folder import REPORT
from bnsuite.report import comparison, findings_json, table, writers
from bnsuite.report.judged import ComparisonReport, RunReport

if TYPE_CHECKING:
    from bnsuite.experiments.ab import ComparisonRequest, ComparisonResult
    from bnsuite.record.interleaved import InterleavedTimes
    from bnsuite.record.reference import Reference
    from bnsuite.record.schema import Run


def reference_for(run: Run, baselines: Path) -> Reference:
    """The baselines for `run`; a reference without times where the folder is not there."""
    from bnsuite.record import baselines as stored

    if baselines.is_dir():
        return stored.load(baselines, run)
    return stored.without_folder(baselines)


def judged(run: Run, findings: Sequence[Finding], reference: str, *, strict: bool) -> Judgement:
    """The findings of a run, or of B, with the exit status that follows from them."""
    measured = run.finished and not nothing_measured(run, findings)
    status = exit_status(findings, finished=measured, strict=strict)
    return Judgement(schema=Judgement.SCHEMA, reference=reference, status=status, findings=tuple(findings))


def show_run(
    run: Run, judgement: Judgement, *, as_json: bool, folder: Path | None = None, error: Exception | None = None
) -> int:
    """Print the verdicts of a run, once they are written into `folder` if there is one; returns the exit status.

    `error` is what ended the run before its end: a regression keeps its status, another has that of the error.
    """
    if error is not None and judgement.status is not ExitStatus.REGRESSED:
        judgement = judgement.model_copy(update={"status": ExitStatus(status_of(error)[0])})
    unwritten: InputError | None = error if isinstance(error, WriteError) else None
    if folder is not None and unwritten is None:
        unwritten = next(iter(writers.write(RunReport(run, judgement, _claims(run, folder)), folder)), None)
    return _show(judgement, unwritten, lambda one: table.terminal(run, list(one.findings), one.status), as_json=as_json)


def _claims(run: Run, folder: Path) -> tuple[str, ...]:
    """The report's section on the articles' claims, if the run has trainings; a failure spoils no verdict."""
    if not any(result.curves for result in run.cases):
        return ()
    from bnsuite.articles import tables
    from bnsuite.articles.claims import answers
    from bnsuite.articles.evidence import Evidence
    from bnsuite.record import details

    try:
        return (tables.markdown(answers(Evidence(run, details.load(folder)))),)
    except Exception as error:  # noqa: BLE001  # the verdicts are what a run is for
        remark(f"{folder / REPORT}: without the claims: {one_line(error)}")
        return ()


def show_comparison(
    a: Run, b: Run, times: InterleavedTimes, judgement: Judgement, *, as_json: bool, unwritten: InputError | None = None
) -> int:
    """Print the verdicts of a comparison; returns the exit status. `unwritten` is what could not be written of it."""
    return _show(
        judgement,
        unwritten,
        lambda one: comparison.terminal(a, b, times, list(one.findings), one.status),
        as_json=as_json,
    )


def _show(
    judgement: Judgement, unwritten: InputError | None, render: Callable[[Judgement], str], *, as_json: bool
) -> int:
    """Print with the exit status as it will be: a regression keeps its own, whatever could not be written."""
    if unwritten is not None and judgement.status is not ExitStatus.REGRESSED:
        judgement = judgement.model_copy(update={"status": ExitStatus.UNUSABLE})
    status = judgement.status
    try:
        say(findings_json.text(judgement) if as_json else render(judgement))
    except InputError as error:
        unwritten = unwritten or error
        status = status if status is ExitStatus.REGRESSED else ExitStatus.UNUSABLE
    if unwritten is not None:
        remark(str(unwritten))
    return status


def comparison_made(
    request: ComparisonRequest, *, strict: bool = False, stages: bool = True
) -> tuple[ComparisonResult, InputError | None]:
    """Make a comparison in its folder, which is claimed, with its progress on stderr; its verdicts are written too.

    Returns it with the reason why the folder lacks some of them, if it does. A log has its stages with `stages` alone.
    """
    from bnsuite.experiments.ab import compare

    with request.folder.claimed() as folder:
        with progress(stages=stages) as notify:
            result = compare(replace(request, folder=folder), notify)
        judgement = judged(result.b, result.findings, result.times.a, strict=strict)
        report = ComparisonReport(result.a, result.b, result.times, judgement)
        unwritten = next(iter(writers.write(report, folder.path)), None)
    for warning in result.warnings:
        remark(warning)
    return result, unwritten


def compared(request: ComparisonRequest) -> ComparisonResult:
    """Makes a comparison for an experiment that needs one; its files are written as far as they can be."""
    return comparison_made(request)[0]


def compared_quietly(request: ComparisonRequest) -> ComparisonResult:
    """Makes one of many comparisons, without lines of its stages in a log."""
    return comparison_made(request, stages=False)[0]
