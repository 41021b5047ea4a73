"""Two runs whose launches were interleaved: B is compared with A by every gate."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial

from bnsuite.judge import convergence, cpu_time, interleaved
from bnsuite.judge.budget import is_pending, out_of_time
from bnsuite.judge.checks import deviations, reasons
from bnsuite.judge.gates import judge as judge_run
from bnsuite.judge.reason import Reason, ReasonCode, reason, text
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.pins import Pin
from bnsuite.record.reference import Reference, trusted
from bnsuite.record.schema import CHECK_GATES, CaseResult, Outcome, Run, Status


def judge(a: Run, b: Run, times: InterleavedTimes, pins: Collection[Pin]) -> list[Finding]:
    """Returns all findings of B, in the order of its cases; a deviation that A has as well is none of B's.

    A deviation that is pinned for B's release and that A does not have is a change: the pin's reason is added.
    """
    reference = trusted(a, times.a, deviations(a, times.a))

    def timing(run: Run, _: Reference) -> list[Finding]:
        return interleaved.judge(run, times)

    def processor(run: Run, _: Reference) -> list[Finding]:
        return cpu_time.between(run, times)

    instead = {interleaved.GATE: timing, cpu_time.GATE: processor}
    findings = [_beside(a, times.a, finding) for finding in judge_run(b, reference, instead)]
    findings = [_with_pins(b, pins, _unless_only_in_a(a, b, times, finding)) for finding in findings]
    if times.budget_s is None or not b.finished:
        return findings
    return list(map(partial(out_of_time, b), findings))


def _changed(finding: Finding, verdict: Verdict, why: Reason) -> Finding:
    return finding.model_copy(update={"verdict": verdict, "reason": why})


def _beside(a: Run, name: str, finding: Finding) -> Finding:
    """Returns a finding with A's reason where A has nothing to compare with: SKIPPED there, or failed there too."""
    outcome = _outcome(a, finding)
    if outcome is None or finding.verdict not in {Verdict.NO_BASELINE, Verdict.FAILED, Verdict.INCONCLUSIVE}:
        return finding
    its = text(outcome.reason)
    if outcome.status is Status.SKIPPED:
        why = reason(ReasonCode.SKIPPED_IN_REFERENCE, reference=name, reason=its)
        return _changed(finding, Verdict.SKIPPED, why)
    if outcome.status is not Status.FAILED or finding.gate not in {*CHECK_GATES, convergence.GATE}:
        return finding  # an interleaved case fails on both sides, whichever it was
    if finding.verdict is Verdict.FAILED:  # a failure that A has as well is no change
        return _changed(finding, Verdict.SKIPPED, reason(ReasonCode.FAILED_IN_BOTH, reference=name, reason=its))
    return _changed(finding, finding.verdict, reason(ReasonCode.FAILED_IN_REFERENCE, reference=name, reason=its))


def _outcome(run: Run, finding: Finding) -> Outcome | None:
    """Returns the outcome of a finding's case and gate in `run`, or None if it has no such case or gate."""
    return next((one.outcomes.get(finding.gate) for one in run.cases if one.id == finding.case), None)


def _unless_only_in_a(a: Run, b: Run, times: InterleavedTimes, finding: Finding) -> Finding:
    """Returns a check that A can do and B can't as MISSING, as where B has no working compiler.

    A check that a user's implementation refuses, or that needs a package which is not installed, stays SKIPPED.
    """
    if finding.gate not in CHECK_GATES or finding.verdict is not Verdict.SKIPPED or b.options.replaces:
        return finding
    outcome = _outcome(a, finding)
    if outcome is None or outcome.status is not Status.MEASURED or _result(b, finding).case.lacks:
        return finding
    why = reason(ReasonCode.ONLY_IN_REFERENCE, reference=times.a, environment=times.b, reason=finding.reason)
    return _changed(finding, Verdict.MISSING, why)


def _with_pins(b: Run, pins: Collection[Pin], finding: Finding) -> Finding:
    """Returns a check that B breaks with the reasons of the pins that cover it."""
    if finding.gate not in CHECK_GATES or finding.verdict is not Verdict.REGRESSED:
        return finding
    known = reasons(b, finding.case, pins)
    if not known:
        return finding
    return _changed(finding, finding.verdict, reason(ReasonCode.WITH_PINS, reason=finding.reason, pins=[*known]))


def cut_short(b: Run, times: InterleavedTimes, findings: Iterable[Finding]) -> bool:
    """Returns if the budget left anything of `findings` open that more time might have decided."""
    if times.budget_s is None:
        return False
    decisions = interleaved.decided(b, times)
    open_ = [one for one in findings if one.verdict is Verdict.INCONCLUSIVE]
    return any(
        decisions[one.case].verdict is None if one.gate == interleaved.GATE else is_pending(b, one) for one in open_
    )


def _result(run: Run, finding: Finding) -> CaseResult:
    return next(one for one in run.cases if one.id == finding.case)
