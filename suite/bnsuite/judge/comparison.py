"""Two runs measured in lockstep: B held against A by every gate."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial

from bnsuite.judge import convergence, interleaved
from bnsuite.judge.checks import deviations, reasons
from bnsuite.judge.gates import judge as judge_run
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.pins import Pin
from bnsuite.record.reference import Reference, trusted
from bnsuite.record.schema import CHECK_GATES, CaseResult, Outcome, Run, Status


def judge(a: Run, b: Run, times: InterleavedTimes, pins: Collection[Pin]) -> list[Finding]:
    """All findings of B, in the order of its cases; what A does as well is no deviation of B's.

    What is known of a release, by `pins`, and A does not do, is a change: its reason is told with it.
    """
    reference = trusted(a, times.a, deviations(a, times.a))

    def timing(run: Run, _: Reference) -> list[Finding]:
        return interleaved.judge(run, times)

    findings = [_beside(a, times.a, finding) for finding in judge_run(b, reference, {interleaved.GATE: timing})]
    findings = [_with_pins(b, pins, _unless_a_shows_it(a, b, times, finding)) for finding in findings]
    if times.budget_s is None or not b.finished:
        return findings
    return list(map(partial(_out_of_time, b), findings))


def _beside(a: Run, name: str, finding: Finding) -> Finding:
    """A finding where A had nothing to hold B against, for A's reason: SKIPPED there, or failed there too."""
    outcome = _outcome(a, finding)
    if outcome is None or finding.verdict not in {Verdict.NO_BASELINE, Verdict.FAILED, Verdict.INCONCLUSIVE}:
        return finding
    why = outcome.reason or "no reason given"
    told = why if why.startswith(name) else f"{name}: {why}"
    if outcome.status is Status.SKIPPED:
        return finding.model_copy(update={"verdict": Verdict.SKIPPED, "summary": told})
    if outcome.status is not Status.FAILED or finding.gate not in {*CHECK_GATES, convergence.GATE}:
        return finding  # what is timed in turns fails on both sides, whichever it was
    if finding.verdict is Verdict.FAILED:  # what A does wrong as well is no change
        return finding.model_copy(update={"verdict": Verdict.SKIPPED, "summary": f"fails in both; {told}"})
    return finding.model_copy(update={"summary": f"nothing to hold it against; {told}"})


def _outcome(run: Run, finding: Finding) -> Outcome | None:
    """How far a run came with what a finding is about; None where it has no such case or gate."""
    return next((one.outcomes.get(finding.gate) for one in run.cases if one.id == finding.case), None)


def _unless_a_shows_it(a: Run, b: Run, times: InterleavedTimes, finding: Finding) -> Finding:
    """A check that A shows and B can't look at is MISSING, as where B has no compiler that works.

    What a user's implementation refuses, and what needs a package that isn't there, is SKIPPED.
    """
    if (
        finding.gate not in CHECK_GATES
        or finding.verdict is not Verdict.SKIPPED
        or b.options.implementation is not None
    ):
        return finding
    outcome = _outcome(a, finding)
    if outcome is None or outcome.status is not Status.MEASURED or _result(b, finding).case.lacks:
        return finding
    text = f"{times.a} shows it, and {times.b} can't: {finding.summary}"
    return finding.model_copy(update={"verdict": Verdict.MISSING, "summary": text})


def _with_pins(b: Run, pins: Collection[Pin], finding: Finding) -> Finding:
    """A check that B breaks, with what the baselines know of it."""
    if finding.gate not in CHECK_GATES or finding.verdict is not Verdict.REGRESSED:
        return finding
    known = reasons(b, finding.case, pins)
    if not known:
        return finding
    return finding.model_copy(update={"summary": f"{finding.summary}; known, and pinned: {'; '.join(known)}"})


def cut_short(b: Run, times: InterleavedTimes, findings: Iterable[Finding]) -> bool:
    """Whether the budget left anything of `findings` open that more time might have decided."""
    if times.budget_s is None:
        return False
    decisions = interleaved.decided(b, times)
    open_ = [one for one in findings if one.verdict is Verdict.INCONCLUSIVE]
    return any(
        decisions[one.case].verdict is None if one.gate == interleaved.GATE else _pending(b, one) for one in open_
    )


def _out_of_time(run: Run, finding: Finding) -> Finding:
    """What the budget left no time for is undecided: it has not failed, and some seeds of a training do not pass."""
    if finding.verdict not in {Verdict.FAILED, Verdict.PASS, Verdict.IMPROVED} or not _pending(run, finding):
        return finding
    seeds = len(_result(run, finding).curves) if finding.gate == convergence.GATE else 0
    text = "the budget ended before it was measured"
    if seeds:
        text = f"the budget ended after {seeds} of {len(run.options.seeds)} seeds; {finding.summary}"
    return finding.model_copy(update={"verdict": Verdict.INCONCLUSIVE, "summary": text})


def _pending(run: Run, finding: Finding) -> bool:
    """Whether what a finding is about was not measured, or not all of it."""
    result = _result(run, finding)
    outcome = result.outcomes.get(finding.gate)
    if outcome is None:
        return False
    if finding.gate == convergence.GATE and outcome.status is Status.MEASURED:
        return len(result.curves) < len(run.options.seeds)
    return outcome.status is Status.PENDING


def _result(run: Run, finding: Finding) -> CaseResult:
    return next(one for one in run.cases if one.id == finding.case)
