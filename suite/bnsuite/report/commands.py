"""Commands that measure a case again, settle a verdict or accept a run, as a user pastes them into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from bnsuite.judge.reason import ReasonCode
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.schema import Run, RunOptions
from bnsuite.record.select import BEGINNING, expression
from bnsuite.report.judged import ComparisonReport, Report

#: A selection names so many cases at most; more are selected by what they have in common.
MAX_NAMED = 3


def repeat(report: Report, cases: Sequence[str], *, full: bool = False) -> str:
    """Returns the command that measures `cases` again as they were measured; with all launches and seeds if `full`."""
    if isinstance(report, ComparisonReport):
        return _comparison(report, cases, full=full)
    run = report.run
    words = ["bnsuite", *_options(run, full=full)]
    if run.options.environment != ".":
        words += ["--environment", run.options.environment]
    if run.options.implementation is not None:
        words += ["--impl", run.options.implementation]
    return shlex.join([*words, *_selection(cases, run.options.select)])


def settle(report: Report, finding: Finding, cases: Sequence[str]) -> str | None:
    """Returns the command that settles a finding or shows more of it; None where no command does."""
    code, data = finding.reason.code, finding.reason.data
    if finding.verdict is Verdict.NO_BASELINE:
        acceptable = code is ReasonCode.OTHER_VERSION or bool(data.get("acceptable"))
        return accept(report) if acceptable else None
    if finding.verdict is Verdict.IMPROVED:
        return accept(report) if not isinstance(report, ComparisonReport) else None
    if finding.verdict in {Verdict.SKIPPED, Verdict.MISSING, Verdict.PASS}:
        return None
    if isinstance(advice := data.get("confirm"), dict) and len(cases) <= MAX_NAMED:
        return _confirming(report, advice, cases)
    return repeat(report, cases, full=finding.verdict is Verdict.INCONCLUSIVE)


def accept(report: Report) -> str | None:
    """Returns the command that makes a run the baseline; None for a comparison, whose times are interleaved."""
    if isinstance(report, ComparisonReport):
        return None
    return shlex.join(["bnsuite", "accept", *([str(report.folder)] if report.folder else [])])


def _confirming(report: Report, advice: dict[str, Any], cases: Sequence[str]) -> str:
    """Returns the comparison of the baseline's environment, or of torch's own layer, with what was measured."""
    run = report.b if isinstance(report, ComparisonReport) else report.run
    implementation = advice.get("implementation")
    a = "." if implementation is not None else str(advice.get("environment") or "A")
    words = ["bnsuite", "ab", a, run.options.environment, *_options(run, full=False)]
    if implementation is not None:
        words += ["--impl-b", str(implementation)]
    return shlex.join([*words, *_selection(cases, run.options.select)])


def _comparison(report: ComparisonReport, cases: Sequence[str], *, full: bool) -> str:
    run = report.b
    words = ["bnsuite", "ab", report.times.a, report.times.b, *_options(run, full=full)]
    if run.options.implementation is not None:
        words += ["--impl-b", run.options.implementation]
    for name, amount in report.times.injected.items():
        words += ["--inject", f"{'holds' if name == 'bytes_held' else name}={amount:g}"]
    return shlex.join([*words, *_selection(cases, run.options.select)])


def _options(run: Run, *, full: bool) -> list[str]:
    options: RunOptions = run.options
    words = ["--device", run.device]
    profile = "full" if full else options.profile
    if profile != "quick":
        words += ["--profile", profile]
    if options.threads != 1:
        words += ["--threads", str(options.threads)]
    for file in options.cases:
        words += ["--cases", file]
    return words


def _selection(cases: Sequence[str], select: str | None) -> list[str]:
    """Returns ``-k`` and an expression for a few cases; for many the run's own selection, or their common beginning."""
    names = sorted(set(cases))
    if len(names) <= MAX_NAMED and (named := expression(names)) is not None:
        return ["-k", named]
    common = names[0] if names else ""
    while not all(name.startswith(common) for name in names):
        common = common.rstrip("/").rpartition("/")[0]
        common = f"{common}/" if common else ""
    if common:
        return ["-k", f"{BEGINNING}{common}"]
    return ["-k", select] if select else []
