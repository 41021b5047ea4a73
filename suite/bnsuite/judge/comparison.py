"""Two runs measured in lockstep: B held against A by every gate."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from bnsuite.judge import lockstep
from bnsuite.judge.checks import deviations
from bnsuite.judge.gates import judge as judge_run
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.lockstep import Lockstep
from bnsuite.record.pins import Pin
from bnsuite.record.reference import Reference, trusted
from bnsuite.record.schema import Run, Status


def judge(a: Run, b: Run, times: Lockstep, pins: Iterable[Pin]) -> list[Finding]:
    """All findings of B, in the order of its cases; what A does as well is no deviation of B's."""
    reference = trusted(a, times.a, (*pins, *deviations(a, times.a)))

    def timing(run: Run, _: Reference) -> list[Finding]:
        return lockstep.judge(run, times)

    findings = judge_run(b, reference, {lockstep.GATE: timing})
    if times.budget_s is None or not b.finished:
        return findings
    return list(map(partial(_out_of_time, b), findings))


def cut_short(b: Run, times: Lockstep, findings: Iterable[Finding]) -> bool:
    """Whether the budget left anything of `findings` open that more time might have decided."""
    if times.budget_s is None:
        return False
    decisions = lockstep.decided(b, times)
    open_ = [one for one in findings if one.verdict is Verdict.INCONCLUSIVE]
    return any(decisions[one.case].verdict is None if one.gate == lockstep.GATE else _pending(b, one) for one in open_)


def _out_of_time(run: Run, finding: Finding) -> Finding:
    """What the budget left no time for is undecided, and not failed."""
    if finding.verdict is not Verdict.FAILED or not _pending(run, finding):
        return finding
    text = "the budget ended before it was measured"
    return finding.model_copy(update={"verdict": Verdict.INCONCLUSIVE, "summary": text})


def _pending(run: Run, finding: Finding) -> bool:
    """Whether what a finding is about was not measured."""
    (outcome,) = (one.outcomes.get(finding.gate) for one in run.cases if one.id == finding.case)
    return outcome is not None and outcome.status is Status.PENDING
