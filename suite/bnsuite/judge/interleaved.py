"""The timing gate of two environments, interleaved: B is compared with A block by block.

The value of a launch is the logarithm of B's time over A's over all its pairs of blocks (see
``judge/blocks.py``); a fresh pair of processes makes the next one. Launches are looked at after every few of
them, and only undecided cases go on. A flagged slowdown is measured again in launches of its own, and counts only if
they show it too: both tests must err for a false alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, expm1, log1p, sqrt

from bnsuite.judge import blocks, gpu_state
from bnsuite.judge.host_time import host_change, with_host_time
from bnsuite.judge.outcomes import finding, not_measured
from bnsuite.judge.reason import Reason, ReasonCode, Record, reason
from bnsuite.judge.statistics import Estimate, moderate, normal_quantile, trimmed
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.interleaved import InterleavedTimes, PairedCase
from bnsuite.record.schema import CaseResult, Run, Status

GATE = "timing"

#: The number of the way in which a comparison is timed and decided, counted up by hand whenever a change of it could
#: change a verdict (block lengths, layouts, isolation, estimator, error levels), with a line in the CHANGELOG. Evidence
#: of the self-test belongs to a number.
#: History: 1 is that of 0.4.0.
METHOD = 1

#: A change smaller than this is never called one.
FLOOR = 0.01
#: PASS is given where B is shown to take less than this much longer.
MARGIN = 0.02
#: The error level of one look at a case, one-sided.
LOOK_ALPHA = 0.005
#: The error level of a PASS, were B just at the margin, at one look.
PASS_ALPHA = 0.01
#: The share of runs with any false alarm, were screening and confirmation independent.
RUN_ALPHA = 0.01
#: Launches before the first look, and between looks.
FIRST_LOOK, EVERY = 4, 2
#: Of so many launches the farthest at either end is left out: a single one may be spoiled by something that nothing in
#: it shows, and would hide all the others.
TRIMMED = 8
#: Launches vary at least this much (log scale), whatever a few happen to show.
MIN_DEVIATION = 0.003
#: The usual deviation of launches, and the number of launches that it is worth: four by themselves say little of their
#: deviation. It is not used where they deviate by more than so many times as much, which is another machine.
USUAL_DEVIATION, PRIOR_LAUNCHES, MAX_UNUSUAL = 0.01, 4, 2.0
#: The level of shown intervals.
LEVEL = 0.90
#: No forecast of launches goes beyond this.
MAX_NEEDED = 1000
CONTROL = "control/"


@dataclass(frozen=True)
class Decision:
    """The decision of one case by its launches; `verdict` is None as long as more of them may decide."""

    verdict: Verdict | None
    #: How much longer B takes (log scale).
    change: Estimate | None
    #: Launches that count, of the screening and of the confirming ones.
    screened: int
    confirmed: int
    #: A slowdown was flagged, and is not confirmed.
    flagged: bool = False
    #: The probability of a mean so far above zero, were there no change.
    p: float | None = None
    #: About how many more launches it would take, by those so far.
    needs: int = 0


def estimate(values: Sequence[float]) -> Estimate:
    """Returns the trimmed mean of at least two values, with an error of MIN_DEVIATION at least."""
    plain = trimmed(values, len(values) // TRIMMED)
    return replace(plain, error=max(plain.error, MIN_DEVIATION / sqrt(len(values))))


def moderated(values: Sequence[float]) -> Estimate:
    """Returns the same, its error moderated by the usual one (see :func:`bnsuite.judge.statistics.moderate`).

    It needs fewer launches, and screens: a slowdown that it shows must pass :func:`estimate` afterwards.
    """
    plain = estimate(values)
    variance = plain.error**2 * len(values)
    if variance > (MAX_UNUSUAL * USUAL_DEVIATION) ** 2:
        return plain
    variance, freedom = moderate(variance, plain.freedom, USUAL_DEVIATION, PRIOR_LAUNCHES)
    return Estimate(plain.mean, sqrt(variance / len(values)), freedom)


def decide(compared: PairedCase, cases: int, most: int) -> Decision:
    """Returns the decision of one of `cases` cases, where there are at most `most` launches of either kind."""
    return decide_values(blocks.values(compared), blocks.values(compared, confirms=True), cases, most)


def decide_values(screen: Sequence[float], confirm: Sequence[float], cases: int, most: int) -> Decision:
    """Returns the same by the values of screening and of confirming launches."""
    flag = next((count for count in _looks(len(screen)) if slower(moderated(screen[:count]), LOOK_ALPHA)), None)
    if flag is None:
        return _screened(screen, most)
    alpha = confirming_alpha(cases, most)
    for count in _looks(len(confirm)):
        fresh = estimate(confirm[:count])
        if slower(fresh, alpha):
            return Decision(Verdict.REGRESSED, fresh, flag, count, p=fresh.p_above(0.0))
        if fresh.p_below(log1p(MARGIN)) < PASS_ALPHA:
            return Decision(Verdict.PASS, fresh, flag, count)
    latest = confirm if len(confirm) > 1 else screen
    change = estimate(latest)
    undecided = Verdict.INCONCLUSIVE if len(confirm) >= most else None
    return Decision(
        undecided, change, flag, len(confirm), flagged=True, needs=_needs(change, len(latest), len(confirm), alpha)
    )


def confirming_alpha(cases: int, most: int) -> float:
    """Returns the error level of one look at the launches made to confirm, one-sided.

    All looks at all `cases` together err with a probability of RUN_ALPHA, given how often the screening flags.
    """
    looks = len(_looks(most))
    return min(LOOK_ALPHA, RUN_ALPHA / (cases * looks * LOOK_ALPHA) / looks)


def _looks(most: int) -> range:
    """Returns the numbers of launches after which a case is looked at, up to `most`."""
    return range(FIRST_LOOK, most + 1, EVERY)


def slower(estimated: Estimate, alpha: float) -> bool:
    """Returns if there is a slowdown that chance shows with a probability of less than `alpha`."""
    return estimated.mean > log1p(FLOOR) and estimated.p_above(0.0) < alpha


def _screened(screen: Sequence[float], most: int) -> Decision:
    """Returns the decision by launches that show no slowdown."""
    count = len(screen)
    if count < 2:
        return Decision(None, None, count, 0, needs=FIRST_LOOK - count)
    change, alone = moderated(screen), estimate(screen)
    verdict = None
    if count in _looks(count):
        if alone.mean < -log1p(FLOOR) and alone.p_below(0.0) < LOOK_ALPHA / 5:
            return Decision(Verdict.IMPROVED, alone, count, 0, p=alone.p_above(0.0))
        if change.p_below(log1p(MARGIN)) < PASS_ALPHA:
            verdict = Verdict.PASS
    if verdict is None and count >= most:
        verdict = Verdict.INCONCLUSIVE
    return Decision(verdict, change, count, 0, p=change.p_above(0.0), needs=_needs(change, count, count, LOOK_ALPHA))


def _needs(change: Estimate, count: int, made: int, alpha: float) -> int:
    """Returns about how many more launches would show a change, or that it is within the margin, if that is sooner.

    `change` is the estimate by `count` launches; `made` of the kind that is needed were made so far.
    """
    deviation = change.error * sqrt(count)
    needed = [MAX_NEEDED]
    for distance, level in ((change.mean, alpha), (log1p(MARGIN) - change.mean, PASS_ALPHA)):
        if distance > 0:
            needed.append(ceil((normal_quantile(1 - level) * deviation / distance) ** 2))
    return max(EVERY, min(needed) - made)


def timed_cases(run: Run) -> list[CaseResult]:
    """Returns the cases over which the false-alarm rate is controlled: all that have a timing gate."""
    return [result for result in run.cases if GATE in result.outcomes]


def decided(run: Run, times: InterleavedTimes) -> dict[str, Decision]:
    """Returns the decision of each timed case of `run`, which is B's."""
    by_id = {one.id: one for one in times.cases}
    timed = timed_cases(run)
    return {
        result.id: decide(by_id.get(result.id, PairedCase(id=result.id)), len(timed), times.most_launches)
        for result in timed
    }


def judge(run: Run, times: InterleavedTimes) -> list[Finding]:
    """Returns one finding for each case of `run`, which is B's, that has a timing gate."""
    by_id = {one.id: one for one in times.cases}
    timed, decisions = timed_cases(run), decided(run, times)
    controls = {name: estimate(seen) for name in by_id if (seen := _control(by_id[name])) is not None}
    ended = "budget" if times.budget_s is not None and run.finished else "measuring"
    return [
        with_host_time(_finding(result, by_id.get(result.id), decisions[result.id], controls, ended), result)
        for result in timed
    ]


def _control(compared: PairedCase) -> list[float] | None:
    seen = blocks.values(compared)
    return seen if compared.id.startswith(CONTROL) and len(seen) > 1 else None


def _finding(
    result: CaseResult, compared: PairedCase | None, decision: Decision, controls: dict[str, Estimate], ended: str
) -> Finding:
    outcome = result.outcomes[GATE]
    changes = {name.replace("/", "_"): expm1(one.mean) for name, one in controls.items()}
    verdict = decision.verdict
    if outcome.status is Status.SKIPPED or (outcome.status is Status.FAILED and verdict is not Verdict.REGRESSED):
        return not_measured(result, GATE)
    clock = gpu_state.clock_of_sides(compared)
    spots = [spot for one in compared.launches for spot in one.blind] if compared is not None else []
    gpu = gpu_state.notes(clock, result.timings, spots)
    why = _reason(decision, changes, gpu)
    slowdown = 0.0 if decision.change is None else decision.change.mean
    if verdict is Verdict.REGRESSED and gpu_state.explains(clock, slowdown, log1p(MARGIN)):
        verdict = Verdict.INCONCLUSIVE  # the times are right, and the clock explains them
    if compared is not None and verdict is not Verdict.REGRESSED and (disturbance := _disturbance(compared)):
        verdict, why = Verdict.INVALID, disturbance
    elif verdict is None:
        launches = decision.screened + decision.confirmed
        verdict = Verdict.INCONCLUSIVE
        why = reason(ReasonCode.ENDED_AFTER_LAUNCHES, by=ended, launches=launches, reason=why)
    if decision.change is None:
        return finding(result, GATE, verdict, why)
    low, high = decision.change.interval(LEVEL)
    unconfirmed = {"unconfirmed": 1} if decision.flagged and verdict is Verdict.INCONCLUSIVE else {}
    return Finding(
        case=result.id,
        gate=GATE,
        verdict=verdict,
        reason=why,
        change=expm1(decision.change.mean),
        low=expm1(low),
        high=expm1(high),
        evidence={
            "launches": decision.screened,
            "launches_to_confirm": decision.confirmed,
            "pairs": sum(len(one.a_s) for one in compared.launches) if compared else 0,
            "p": decision.p,
            "deviation": decision.change.error * sqrt(max(decision.confirmed, decision.screened)),
            **unconfirmed,
            **host_change(compared),
            **changes,
            **({} if clock is None else {"sm_clock": clock}),
        },
    )


def _reason(decision: Decision, controls: dict[str, float], gpu: Record) -> Reason:
    if decision.change is None:
        return reason(ReasonCode.NEEDS_LAUNCHES, needs=decision.needs)
    low, high = (expm1(bound) for bound in decision.change.interval(LEVEL))
    change: Record = {"change": expm1(decision.change.mean), "low": low, "high": high}
    if decision.verdict is Verdict.REGRESSED:
        return reason(
            ReasonCode.SLOWDOWN_CONFIRMED,
            **change,
            launches=decision.screened,
            confirming=decision.confirmed,
            controls={**controls},
            **gpu,
        )
    if decision.verdict in {Verdict.PASS, Verdict.IMPROVED}:
        return reason(ReasonCode.TIME_COMPARED, **change, launches=decision.screened + decision.confirmed)
    return reason(
        ReasonCode.TIME_UNDECIDED,
        **change,
        flagged=decision.flagged,
        confirming=decision.confirmed,
        needs=decision.needs,
        **gpu,
    )


def _disturbance(compared: PairedCase) -> Reason | None:
    """Returns the disturbance of most of the launches, if there was one."""
    disturbed = [one for one in compared.launches if blocks.value(one) is None]
    if 2 * len(disturbed) <= len(compared.launches):
        return None
    cause = next((one.disturbed for one in disturbed if one.disturbed), None)
    return reason(
        ReasonCode.DISTURBED,
        kind="core" if cause is None else "other",
        by=[] if cause is None else [cause],
        launches=len(disturbed),
        of=len(compared.launches),
    )
