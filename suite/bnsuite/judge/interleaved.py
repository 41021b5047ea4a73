"""The timing gate of two environments in lockstep: whether B takes longer than A.

A launch is one value, the logarithm of B's time over A's over all its pairs of blocks (see ``judge/blocks.py``);
a fresh pair of processes makes the next one. Launches are looked at after every few of them, and only what is undecided
goes on. A slowdown that is seen is measured again in launches of its own, and counts only if they show it too: both
tests must err for a false alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, expm1, log1p, sqrt

from bnsuite.judge import blocks
from bnsuite.judge.statistics import Estimate, normal_quantile, trimmed
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
#: What one look at a case may err by, one-sided.
LOOK_ALPHA = 0.005
#: What a PASS may err by, were B just at the margin, at one look.
PASS_ALPHA = 0.01
#: Runs in which any case rings falsely, were screening and confirmation independent.
RUN_ALPHA = 0.01
#: Launches before the first look, and between looks.
FIRST_LOOK, EVERY = 4, 2
#: Of so many launches the one that is farthest off at either end is left out: a single one may be spoilt by what
#: nothing in it tells, and would hide all the others.
TRIMMED = 8
#: Launches vary at least this much (log scale), whatever a few happen to show.
MIN_DEVIATION = 0.003
#: What launches usually differ by, and as how many launches that counts: four by themselves tell little of how much
#: they differ. Not where they differ by more than so many times as much, which is another machine.
USUAL_DEVIATION, WORTH, MAX_UNUSUAL = 0.01, 4, 2.0
#: Shown intervals.
LEVEL = 0.90
#: No forecast of launches goes beyond this.
MAX_NEEDED = 1000
CONTROL = "control/"


@dataclass(frozen=True)
class Decision:
    """What the launches of one case say; `verdict` is None as long as more of them may decide."""

    verdict: Verdict | None
    #: How much longer B takes (log scale).
    change: Estimate | None
    #: Launches that count, of the first ones and of those made to confirm.
    screened: int
    confirmed: int
    #: Whether a slowdown was seen and waits to be confirmed.
    flagged: bool = False
    #: The probability of a mean so far above zero, were there no change.
    p: float | None = None
    #: How many more launches it would take about, by what was seen so far.
    needs: int = 0


def estimate(values: Sequence[float]) -> Estimate:
    """The trimmed mean of at least two values, with an error that MIN_DEVIATION holds up."""
    seen = trimmed(values, len(values) // TRIMMED)
    return replace(seen, error=max(seen.error, MIN_DEVIATION / sqrt(len(values))))


def moderated(values: Sequence[float]) -> Estimate:
    """The same, its error drawn towards that of launches as they usually are: Smyth's moderated t with a fixed prior.

    It needs fewer launches, and decides what goes on: a slowdown that it shows is held to :func:`estimate` afterwards.
    G. K. Smyth (2004), "Linear models and empirical Bayes methods for assessing differential expression".
    """
    seen = estimate(values)
    variance = seen.error**2 * len(values)
    if variance > (MAX_UNUSUAL * USUAL_DEVIATION) ** 2:
        return seen
    freedom = WORTH + seen.freedom
    variance = (WORTH * USUAL_DEVIATION**2 + seen.freedom * variance) / freedom
    return Estimate(seen.mean, sqrt(variance / len(values)), freedom)


def decide(compared: PairedCase, cases: int, most: int) -> Decision:
    """What the launches of one of `cases` cases say, where there are at most `most` of either kind."""
    return decide_values(blocks.values(compared), blocks.values(compared, confirms=True), cases, most)


def decide_values(screen: Sequence[float], confirm: Sequence[float], cases: int, most: int) -> Decision:
    """The same of the values of the first launches, and of those made to confirm what these showed."""
    flag = next((count for count in _looks(len(screen)) if slower(moderated(screen[:count]), LOOK_ALPHA)), None)
    if flag is None:
        return _screened(screen, most)
    looks = len(_looks(most))
    alpha = min(LOOK_ALPHA, RUN_ALPHA / (cases * looks * LOOK_ALPHA) / looks)
    for count in _looks(len(confirm)):
        fresh = estimate(confirm[:count])
        if slower(fresh, alpha):
            return Decision(Verdict.REGRESSED, fresh, flag, count, p=fresh.p_above(0.0))
        if fresh.p_below(log1p(MARGIN)) < PASS_ALPHA:
            return Decision(Verdict.PASS, fresh, flag, count)
    shown = confirm if len(confirm) > 1 else screen
    change = estimate(shown)
    undecided = Verdict.INCONCLUSIVE if len(confirm) >= most else None
    return Decision(
        undecided, change, flag, len(confirm), flagged=True, needs=_needs(change, len(shown), len(confirm), alpha)
    )


def _looks(most: int) -> range:
    """After how many launches a case is looked at, up to `most`."""
    return range(FIRST_LOOK, most + 1, EVERY)


def slower(seen: Estimate, alpha: float) -> bool:
    """Whether a slowdown was seen that chance shows with a probability of less than `alpha`."""
    return seen.mean > log1p(FLOOR) and seen.p_above(0.0) < alpha


def _screened(screen: Sequence[float], most: int) -> Decision:
    """What launches say that show no slowdown."""
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
    """About how many more launches would show a change, or that it is within the margin: the sooner of the two.

    `change` is what `count` launches show, and `made` are those of the kind that is needed.
    """
    deviation = change.error * sqrt(count)
    wanted = [MAX_NEEDED]
    for distance, level in ((change.mean, alpha), (log1p(MARGIN) - change.mean, PASS_ALPHA)):
        if distance > 0:
            wanted.append(ceil((normal_quantile(1 - level) * deviation / distance) ** 2))
    return max(EVERY, min(wanted) - made)


def timed_cases(run: Run) -> list[CaseResult]:
    """The cases among which false alarms are kept rare: all that have a timing gate, whatever became of them."""
    return [result for result in run.cases if GATE in result.outcomes]


def decided(run: Run, times: InterleavedTimes) -> dict[str, Decision]:
    """What the launches say of each timed case of `run`, which is B's."""
    by_id = {one.id: one for one in times.cases}
    timed = timed_cases(run)
    return {
        result.id: decide(by_id.get(result.id, PairedCase(id=result.id)), len(timed), times.most_launches)
        for result in timed
    }


def judge(run: Run, times: InterleavedTimes) -> list[Finding]:
    """One finding for each case of `run`, which is B's, that has a timing gate."""
    by_id = {one.id: one for one in times.cases}
    timed, decisions = timed_cases(run), decided(run, times)
    controls = {name: estimate(seen) for name in by_id if (seen := _control(by_id[name])) is not None}
    ended = "budget" if times.budget_s is not None and run.finished else "measuring"
    return [_finding(result, by_id.get(result.id), decisions[result.id], controls, ended) for result in timed]


def _control(compared: PairedCase) -> list[float] | None:
    seen = blocks.values(compared)
    return seen if compared.id.startswith(CONTROL) and len(seen) > 1 else None


def _finding(
    result: CaseResult, compared: PairedCase | None, decision: Decision, controls: dict[str, Estimate], ended: str
) -> Finding:
    outcome = result.outcomes[GATE]
    moved = {f"{name.replace('/', '_')}": expm1(one.mean) for name, one in controls.items()}
    verdict, text = decision.verdict, _told(decision)
    if outcome.status is Status.SKIPPED:
        verdict, text = Verdict.SKIPPED, outcome.reason or "no reason given"
    elif outcome.status is Status.FAILED and verdict is not Verdict.REGRESSED:
        verdict, text = Verdict.FAILED, outcome.reason or "no reason given"
    elif compared is not None and verdict is not Verdict.REGRESSED and (reason := _disturbance(compared)):
        verdict, text = Verdict.INVALID, reason
    elif verdict is None:
        verdict = Verdict.INCONCLUSIVE
        text = f"the {ended} ended after {decision.screened + decision.confirmed} launches; {text}"
    elif verdict is Verdict.REGRESSED and moved:
        text += (
            f"; plain operations of torch's own changed by {', '.join(f'{change:+.1%}' for change in moved.values())}"
        )
    if decision.change is None or verdict in {Verdict.SKIPPED, Verdict.FAILED}:
        return Finding(case=result.id, gate=GATE, verdict=verdict, summary=text)
    low, high = decision.change.interval(LEVEL)
    return Finding(
        case=result.id,
        gate=GATE,
        verdict=verdict,
        summary=text,
        change=expm1(decision.change.mean),
        low=expm1(low),
        high=expm1(high),
        evidence={
            "launches": decision.screened,
            "launches_to_confirm": decision.confirmed,
            "pairs": sum(len(one.a_s) for one in compared.launches) if compared else 0,
            "p": decision.p,
            "deviation": decision.change.error * sqrt(max(decision.confirmed, decision.screened)),
            **moved,
        },
    )


def _told(decision: Decision) -> str:
    if decision.change is None:
        return f"about {decision.needs} more launches would decide"
    low, high = (expm1(bound) for bound in decision.change.interval(LEVEL))
    seen = f"takes {expm1(decision.change.mean):+.1%} ({low:+.1%} to {high:+.1%})"
    if decision.verdict is Verdict.REGRESSED:
        return f"{seen}, shown by {decision.screened} launches and again by {decision.confirmed} fresh ones"
    if decision.verdict in {Verdict.PASS, Verdict.IMPROVED}:
        return f"{seen}, by {decision.screened + decision.confirmed} launches"
    kind = "neither slower nor within the margin"
    if decision.flagged:
        after = f" after {decision.confirmed} launches of its own" if decision.confirmed else ""
        kind = f"a slowdown that is not confirmed{after}"
    return f"{seen}: {kind}; about {decision.needs} more launches would decide"


def _disturbance(compared: PairedCase) -> str | None:
    """Why too much was disturbed for a verdict, or None."""
    disturbed = [one for one in compared.launches if blocks.value(one) is None]
    if 2 * len(disturbed) <= len(compared.launches):
        return None
    reason = next((one.disturbed for one in disturbed if one.disturbed), "something else had the core")
    return (
        f"{reason} in {len(disturbed)} of {len(compared.launches)} launches; end it, or give bnsuite cores of its own"
    )
