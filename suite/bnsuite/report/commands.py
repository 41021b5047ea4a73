"""The command beside a verdict: it measures the cases again, settles the verdict, or accepts the run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from itertools import takewhile

from bnsuite.judge.reason import ReasonCode
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.accept import WHAT
from bnsuite.record.select import BEGINNING, expression
from bnsuite.report import repeat
from bnsuite.report.judged import ComparisonReport, Report

#: A command names so many cases at most, in so many letters; more are selected by what they have in common.
MAX_NAMED, MAX_LETTERS = 3, 100


def of_finding(report: Report, finding: Finding) -> str | None:
    """Returns the command that settles a finding, or else measures its case again; None where there is none."""
    return settle(report, finding, [finding.case]) or measure(report, [finding.case])


def measure(report: Report, cases: Sequence[str], *, full: bool = False) -> str | None:
    """Returns the command that measures `cases` again as they were measured; with all launches and seeds if `full`."""
    profile = "full" if full else None
    if isinstance(report, ComparisonReport):
        select = selection(cases, report.b.options.select)
        return repeat.compare_again(report.b, report.times, cases, profile=profile, select=select, seed=not full)
    return repeat.run_again(report.run, cases, profile=profile, select=selection(cases, report.run.options.select))


def settle(report: Report, finding: Finding, cases: Sequence[str]) -> str | None:
    """Returns the command that settles a finding of `cases` or shows more of it; None where no command does."""
    if finding.verdict is Verdict.NO_BASELINE:
        return _baseline(report, finding)
    if finding.verdict is Verdict.IMPROVED:
        return accept(report)
    if finding.verdict in {Verdict.SKIPPED, Verdict.MISSING, Verdict.PASS}:
        return None
    if isinstance(advice := finding.reason.data.get("confirm"), dict):
        return _confirm(report, advice, cases)
    return measure(report, cases, full=finding.verdict is Verdict.INCONCLUSIVE)


def _baseline(report: Report, finding: Finding) -> str | None:
    """Returns the command that makes a baseline for a finding that has none."""
    code, data = finding.reason.code, finding.reason.data
    if is_to_calibrate(finding):
        return calibrate(report)
    if data.get("calibrated"):  # the GPU is, and a check that no limit can judge is accepted
        return accept(report, "checks")
    acceptable = code is ReasonCode.OTHER_VERSION or bool(data.get("acceptable"))
    return accept(report, finding.gate) if acceptable else None


def is_to_calibrate(finding: Finding) -> bool:
    """Returns True for a finding on a GPU that a calibration gives a verdict, or begins to."""
    if finding.verdict is not Verdict.NO_BASELINE:
        return False
    code = finding.reason.code
    limits = code in {ReasonCode.RATIO_NOT_CALIBRATED, ReasonCode.LIMITS_NOT_CALIBRATED}
    return limits or (code is ReasonCode.OBSERVATIONS_UNKNOWN and finding.reason.data.get("calibrated") is False)


def calibrate(report: Report) -> str | None:
    """Returns the command that calibrates a GPU by its run; None for what no GPU can be calibrated by."""
    return _of_run(report, "calibrate")


def accept(report: Report, gate: str = "") -> str | None:
    """Returns the command that makes a run the baseline, of one gate alone if there is a reference of its name.

    None for a comparison, whose times are interleaved.
    """
    return _of_run(report, "accept", *(["--only", gate] if gate in WHAT else []))


def _of_run(report: Report, verb: str, *options: str) -> str | None:
    """Returns the command of a verb that takes a run of torch's own layers; None for another one."""
    if isinstance(report, ComparisonReport) or report.run.options.replaces:
        return None
    folder = os.fspath(report.folder) if report.folder is not None else ""
    if not folder.isprintable() or folder.startswith("-"):
        return None
    return shlex.join(["bnsuite", verb, *([folder] if folder else []), *options])


def _confirm(report: Report, advice: Mapping[str, object], cases: Sequence[str]) -> str | None:
    """Returns the comparison of the baseline's environment, or of torch's own layer, with what was measured."""
    run = report.judged
    environment = advice.get("environment")
    select = selection(cases, run.options.select)
    settings = repeat.settings(run)
    if run.options.implementation is not None:
        return repeat.compare(".", ".", [*settings, *repeat.implementation(run, "-b")], cases, select)
    if not isinstance(environment, str):
        return repeat.run_again(run, cases, "--confirm", select=select)
    return repeat.compare(environment, run.options.environment, settings, cases, select)


def selection(cases: Sequence[str], select: str | None) -> str | None:
    """Returns an expression for `cases`: the names of a few; of many what was selected, or how all of them begin.

    None where a few have to be named and can't be.
    """
    names = sorted(set(cases))
    named = expression(names)
    if len(names) == 1 or (len(names) <= MAX_NAMED and (named is None or len(named) <= MAX_LETTERS)):
        return named
    levels = zip(*(name.split("/")[:-1] for name in names), strict=False)
    beginning = "/".join(parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, levels))
    return f"{BEGINNING}{beginning}/" if beginning else select or ""
