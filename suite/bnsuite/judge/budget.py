"""What a budget left open: cases that it left no time for are undecided, and neither failed nor passed.

The rule is the same for a run and for a comparison.
"""

from __future__ import annotations

from bnsuite.judge import convergence
from bnsuite.judge.reason import Reason, ReasonCode, reason
from bnsuite.judge.verdict import DECIDED_WELL, Finding, Verdict
from bnsuite.record.durations import cut_short, launches_of, seeds_of
from bnsuite.record.schema import CaseResult, Run, Status

#: Reasons of cases for which the budget had no time, or not enough.
OPEN = frozenset({ReasonCode.BUDGET_ENDED, ReasonCode.BUDGET_ENDED_AFTER_SEEDS, ReasonCode.ENDED_AFTER_LAUNCHES})


def out_of_time(run: Run, finding: Finding) -> Finding:
    """Returns a case that the budget left no time for as undecided: not as failed, and some seeds are no PASS."""
    if finding.verdict not in {Verdict.FAILED, *DECIDED_WELL} or not is_pending(run, finding):
        return finding
    seeds = len(_result(run, finding).curves) if finding.gate == convergence.GATE else 0
    why = reason(ReasonCode.BUDGET_ENDED)
    if seeds:
        of = len(seeds_of(run.options, _result(run, finding).case))
        why = reason(ReasonCode.BUDGET_ENDED_AFTER_SEEDS, seeds=seeds, of=of, reason=finding.reason)
    return _undecided(finding, why)


def of_run(run: Run, finding: Finding) -> Finding:
    """Returns the same in a run that its budget cut short, where times come in whole launches.

    A slowdown that was not shown again in more than half of the launches that confirm is not confirmed.
    """
    result = next((one for one in run.cases if one.id == finding.case), None)
    if result is None or finding.gate not in result.outcomes:
        return finding
    launches = len(result.timings)
    if (
        finding.gate == "timing"
        and finding.verdict is Verdict.FAILED
        and finding.reason.code is ReasonCode.FEW_LAUNCHES
    ):
        why = reason(
            ReasonCode.ENDED_AFTER_LAUNCHES, by="budget", launches=launches, reason=reason(ReasonCode.FEW_TO_JUDGE)
        )
        return _undecided(finding, why)
    if finding.gate == "timing" and finding.verdict is Verdict.REGRESSED and not is_confirmed(run, result):
        data = {name: value for name, value in finding.reason.data.items() if name == "confirm"}
        why = reason(ReasonCode.ENDED_AFTER_LAUNCHES, by="budget", launches=launches, reason=finding.reason, **data)
        undecided = _undecided(finding, why)
        return undecided.model_copy(update={"evidence": {**finding.evidence, "unconfirmed": 1}})
    return out_of_time(run, finding)


def is_confirmed(run: Run, result: CaseResult) -> bool:
    """Returns True if enough fresh launches were made to see a slowdown again."""
    return sum(one.confirms for one in result.undisturbed) > run.options.launches // 2


def is_pending(run: Run, finding: Finding) -> bool:
    """Returns if the case of a finding was not measured by its gate, or only in part."""
    result = _result(run, finding)
    outcome = result.outcomes.get(finding.gate)
    if outcome is None:
        return False
    if finding.gate == convergence.GATE and outcome.status is Status.MEASURED:
        return len(result.curves) < len(seeds_of(run.options, result.case))
    return outcome.status is Status.PENDING


def leaves_open(run: Run) -> bool:
    """Returns if any measurement of `run` was not made, or not as often as it was asked for."""
    return any(
        outcome.status is Status.PENDING
        or (gate == convergence.GATE and outcome.status is Status.MEASURED and _lacks_seeds(run, result))
        or (
            gate == "timing"
            and outcome.status is Status.MEASURED
            and len(result.timings) < launches_of(run.options, result.case)
        )
        for result in run.cases
        for gate, outcome in result.outcomes.items()
    )


def measured_nothing(run: Run) -> bool:
    """Returns True if the budget was too short for a single measurement: such a run is not fine."""
    outcomes = [outcome.status for result in run.cases for outcome in result.outcomes.values()]
    return cut_short(run) and not any(status in {Status.MEASURED, Status.FAILED} for status in outcomes)


def _lacks_seeds(run: Run, result: CaseResult) -> bool:
    return len(result.curves) < len(seeds_of(run.options, result.case))


def _undecided(finding: Finding, why: Reason) -> Finding:
    return finding.model_copy(update={"verdict": Verdict.INCONCLUSIVE, "reason": why})


def _result(run: Run, finding: Finding) -> CaseResult:
    return next(one for one in run.cases if one.id == finding.case)
