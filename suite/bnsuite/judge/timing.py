"""The timing gate against a stored baseline of the same machine: coarse by nature, since a machine drifts.

The value of a launch is the logarithm of a case's median over a control's median in the same process. Two controls are
timed beside the cases, and a change counts only as far as neither of them shows it: against the *linear* control
alone, background load on the memory bus made batch norm look up to 28 % slower, against the *copy* control alone it
looked up to 39 % faster; the part that both agreed on stayed under 6 % (two shared virtual cores, 12 undisturbed and 6
disturbed launches). Other cases and other background loads leave more, so that a regression must also be far beyond
the drift of the controls (`DRIFT_FACTOR`). Controls are too short to show a core being shared; the launch's own
CPU time shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import expm1, log, log1p, sqrt
from statistics import fmean, median, stdev

from bnsuite.judge import gpu_state, ratios
from bnsuite.judge.gate import Gate
from bnsuite.judge.host_time import launch_bound, relevant_controls, with_host_time
from bnsuite.judge.outcomes import finding, not_measured, without_reference
from bnsuite.judge.reason import Reason, ReasonCode, Record, reason, text
from bnsuite.judge.statistics import Estimate, benjamini_hochberg, satterthwaite
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.reference import LaunchValue, Reference, TimingReference, condense
from bnsuite.record.schema import CaseResult, Run, Status, Timing

GATE = "timing"
#: The control that moves as many bytes as the case must.
COPY = "copy"

#: The share of a copy's bandwidth above which a measurement must be broken. A copy is no hard limit: where a step moves
#: just as many bytes, as batch norm in evaluation does, 107 % was seen on two shared virtual cores.
MAX_SHARE = 1.25
#: So many times the last-level cache of a GPU a step must move to be compared with a copy.
CACHES = 8
#: A change smaller than this is never called a regression: the floor for a number stored on another day.
FLOOR = 0.10
#: The baseline's own launches must not reach the threshold: it lies this many of their deviations away.
DEVIATIONS = 3.0
#: The share of false alarms among alarms, over all cases of a run (Benjamini-Hochberg).
ALPHA = 0.01
#: The two-sided interval that is shown; PASS is given where its upper end lies under the threshold.
LEVEL = 0.90
#: Launches of one run vary at least this much (log scale), whatever three of them happen to show.
MIN_DEVIATION = 0.01
#: From one run to the next a case drifts at least this much (log scale): the median over 21 cases and 19
#: runs was 1.5 %. Accepted runs that drift more raise it; fewer than three can't tell, and are taken to drift twice
#: as much.
DRIFT = 0.015
#: How many runs' worth that prior knowledge is.
DRIFT_FREEDOM = 5
#: A control that changed this much (log scale) since the baseline shows that the machine, or all of the environment, is
#: another one now; over 19 undisturbed runs the largest deviation of a launch was 14 % for the product, 53 % for the
#: copy.
CONTROL_LIMIT = log(1.25)
#: Controls show that a machine is in another state, not how much that slows each case. The change that they leave
#: unexplained must be this many times their own drift: beside background loads on the other core (one fills the memory,
#: one runs Python, one trains and sorts) it was up to 1.6 times that, in five quick runs of 23 unchanged cases.
DRIFT_FACTOR = 2.0


@dataclass(frozen=True)
class _Comparison:
    #: The change (log scale) against the control that was quietest in the baseline.
    change: Estimate
    #: The part of the change that every control leaves unexplained.
    agreed: float
    threshold: float
    #: The relative changes of the controls themselves since the baseline.
    controls: dict[str, float]
    #: The control that `change` is measured against.
    quietest: str
    #: The relative change of the GPU's median clock since the baseline, where it is known.
    clock: float | None

    @property
    def p(self) -> float:
        return self.change.p_two_sided()

    @property
    def direction(self) -> int:
        """1 for slower than the threshold allows, -1 for faster, 0 for neither."""
        return (self.agreed > self.threshold) - (self.agreed < -self.threshold)

    @property
    def drift(self) -> float:
        """The largest relative change of a control since the baseline."""
        return expm1(max(abs(log1p(change)) for change in self.controls.values()))

    @property
    def beyond_controls(self) -> bool:
        """The change that controls leave unexplained is larger than the state of the machine would make it."""
        return expm1(abs(self.agreed)) > DRIFT_FACTOR * self.drift


def judge(run: Run, reference: Reference) -> list[Finding]:
    """Returns one finding for each case with a timing gate."""
    findings: dict[str, Finding] = {}
    compared: dict[str, tuple[CaseResult, _Comparison]] = {}
    for result in run.cases:
        if GATE not in result.outcomes:
            continue
        if impossible := _impossible(run, result):
            findings[result.id] = finding(result, GATE, Verdict.FAILED, impossible)
            continue
        if result.case.kind == "ratio" and len(result.undisturbed) >= _enough(run):
            findings[result.id] = _unless_it_failed(result, ratios.judge(run, result, reference))
            continue
        stored = reference.timing.get(result.id)
        comparison = None
        if len(result.undisturbed) >= _enough(run) and stored is not None and stored.version == result.case.version:
            comparison = _compare(result, result.undisturbed, stored)
        if comparison is not None:
            compared[result.id] = result, comparison
        else:
            findings[result.id] = _without_comparison(result, stored, reference, _enough(run))
    adjusted = benjamini_hochberg([one.p for _, one in compared.values()])
    for (name, (result, comparison)), p in zip(compared.items(), adjusted, strict=True):
        found = _verdict(result, comparison, p, reference.timing[name])
        if looks_slower(found):
            found = found.model_copy(update={"reason": _with_advice(found.reason, run, name, reference)})
        findings[name] = found
    return [with_host_time(findings[result.id], result) for result in run.cases if result.id in findings]


def _unless_it_failed(result: CaseResult, found: Finding) -> Finding:
    """Returns the finding of launches before one that failed: only a regression stands."""
    outcome = result.outcomes[GATE]
    if outcome.status is not Status.FAILED or found.verdict is Verdict.REGRESSED:
        return found
    why = reason(ReasonCode.FAILED_AFTER_LAUNCHES, launches=len(result.timings), reason=text(outcome.reason))
    return found.model_copy(update={"verdict": Verdict.FAILED, "reason": why})


def looks_slower(found: Finding) -> bool:
    """Returns if a finding against a stored baseline is slower: a regression, or one but for the controls."""
    verdicts = {Verdict.REGRESSED, Verdict.INCONCLUSIVE}
    return found.gate == GATE and found.verdict in verdicts and bool(found.evidence.get("slower"))


def _with_advice(why: Reason, run: Run, case: str, reference: Reference) -> Reason:
    """Adds the comparison that confirms or refutes a slowdown."""
    implementation = run.options.implementation
    advice: Record = {
        "case": case,
        "environment": "." if implementation is not None else reference.environment([case]),
        "implementation": implementation,
    }
    return reason(why.code, **why.data, confirm=advice)


def share_of_limit(result: CaseResult) -> float | None:
    """Returns a case's least traffic per second over that of a copy of as many bytes in the same launch, or None.

    The fastest round of the copy is the limit; the median launch stands for the case. A step that a GPU works on for
    less time than the host takes to launch it says nothing of bandwidth: most of it is the begin and end of kernels.
    """
    launches = [one for one in result.undisturbed if COPY in one.controls_s]
    if result.case.nbytes is None or not launches or launch_bound(result):
        return None
    return median(min(one.controls_s[COPY]) / median(one.samples_s) for one in launches)


def _impossible(run: Run, result: CaseResult) -> Reason | None:
    """Returns why the measurement must be broken, if it must: no step is so much faster than a copy.

    On a GPU a part of what a step moves may stay in the cache while what a copy moves does not, so that only traffic
    of many times the cache tells.
    """
    share = share_of_limit(result)
    if share is None or share <= MAX_SHARE or (run.device != "cpu" and not _exceeds_cache(run, result)):
        return None
    return reason(ReasonCode.FASTER_THAN_COPY, share=share, nbytes=result.case.nbytes)


def _exceeds_cache(run: Run, result: CaseResult) -> bool:
    """Returns if a step moves so much that nothing of it stays in the cache; False where its size is not known."""
    gpu = run.environment.gpu
    if gpu is None or gpu.l2_bytes is None or result.case.nbytes is None:
        return False
    return result.case.nbytes >= CACHES * gpu.l2_bytes


def _compare(result: CaseResult, timings: Sequence[Timing], stored: TimingReference) -> _Comparison | None:
    """Returns None where no control is common to all launches."""
    launches = [condense(one) for one in timings]
    accepted = [launch for one in stored.runs for launch in one]
    common = set.intersection(*(set(launch.controls_s) for launch in (*launches, *accepted)))
    names = sorted(relevant_controls(common, result))
    if not names:
        return None
    spread = {name: _deviation(_values(stored, name)) for name in names}
    quietest = min(names, key=spread.__getitem__)
    changes = {name: _change(launches, stored, name) for name in names}
    means = [change.mean for change in changes.values()]
    same_sign = min(means) > 0 or max(means) < 0
    return _Comparison(
        change=changes[quietest],
        agreed=min(means, key=abs) if same_sign else 0.0,
        threshold=max(log(1 + FLOOR), DEVIATIONS * spread[quietest]),
        controls={name: _control_change(launches, accepted, name) for name in names},
        quietest=quietest,
        clock=gpu_state.clock_since(launches, accepted),
    )


def _change(launches: list[LaunchValue], stored: TimingReference, control: str) -> Estimate:
    """Returns the slowdown (log scale), with the error by the spread of launches and the drift between runs."""
    new = [_value(launch, control) for launch in launches]
    runs = _values(stored, control)
    centres = [median(one) for one in runs]
    count = sum(map(len, runs))
    within = max(MIN_DEVIATION, _deviation([new, *runs]))
    between = max(DRIFT, stdev(centres)) if len(runs) > 2 else 2 * DRIFT
    drift = between**2 * (1 + 1 / len(runs))
    noise = within**2 * (1 / len(new) + 1 / count)
    freedom = satterthwaite(
        (drift, max(DRIFT_FREEDOM, len(runs) - 1)), (noise, max(1, len(new) + count - len(runs) - 1))
    )
    return Estimate(median(new) - median(centres), sqrt(drift + noise), freedom)


def _values(stored: TimingReference, control: str) -> list[list[float]]:
    return [[_value(launch, control) for launch in one] for one in stored.runs]


def _value(launch: LaunchValue, control: str) -> float:
    return log(launch.median_s / launch.controls_s[control])


def _control_change(launches: list[LaunchValue], accepted: list[LaunchValue], control: str) -> float:
    return median(one.controls_s[control] for one in launches) / median(one.controls_s[control] for one in accepted) - 1


def _deviation(groups: list[list[float]]) -> float:
    """Returns the deviation inside groups, each about its own mean; zero where no group has two values."""
    squares = sum(sum((value - fmean(group)) ** 2 for value in group) for group in groups)
    freedom = sum(len(group) - 1 for group in groups)
    return sqrt(squares / freedom) if freedom else 0.0


def _verdict(result: CaseResult, comparison: _Comparison, p: float, stored: TimingReference) -> Finding:
    change, threshold = comparison.change, comparison.threshold
    low, high = change.interval(LEVEL)
    limit = expm1(threshold)
    control = comparison.controls[comparison.quietest]
    required = _required(result, comparison, stored)
    slower = p < ALPHA and bool(required) and all(one.p < ALPHA and one.direction > 0 for one in required)
    controls: Record = {**comparison.controls}
    gpu = gpu_state.notes(comparison.clock, result.undisturbed)
    if slower:
        beyond = all(one.beyond_controls for one in required)
        explained = gpu_state.explains(comparison.clock, change.mean, threshold)
        verdict = Verdict.REGRESSED if beyond and not explained else Verdict.INCONCLUSIVE
        why = reason(
            ReasonCode.SLOWER, change=expm1(change.mean), limit=limit, beyond_controls=beyond, controls=controls, **gpu
        )
    elif abs(log1p(control)) > CONTROL_LIMIT:
        verdict, why = Verdict.INCONCLUSIVE, reason(ReasonCode.CONTROLS_CHANGED, controls=controls)
    elif p < ALPHA and comparison.direction < 0:
        verdict, why = Verdict.IMPROVED, reason(ReasonCode.FASTER, change=expm1(change.mean), controls=controls)
    elif high < threshold:
        verdict, why = Verdict.PASS, reason(ReasonCode.WITHIN_LIMIT, limit=limit)
    else:
        why = reason(ReasonCode.NOT_WITHIN_LIMIT, limit=limit, controls=controls, **gpu)
        verdict = Verdict.INCONCLUSIVE
    found = Finding(
        case=result.id,
        gate=GATE,
        verdict=verdict,
        reason=why,
        change=expm1(change.mean),
        low=expm1(low),
        high=expm1(high),
        evidence={
            "threshold": limit,
            "p": p,
            "unexplained_by_controls": expm1(comparison.agreed),
            "slower": int(slower),
            "share_of_limit": share_of_limit(result),
            **{f"control_{name}": share for name, share in comparison.controls.items()},
            **({} if comparison.clock is None else {"sm_clock": comparison.clock}),
        },
    )
    return _unless_it_failed(result, found)


def _required(result: CaseResult, comparison: _Comparison, stored: TimingReference) -> list[_Comparison]:
    """Returns all comparisons that must show a regression: `comparison`, and that of the launches made to confirm it.

    Without such launches it is `comparison` alone; the list is empty where they gave nothing to compare.
    """
    if not any(one.confirms for one in result.timings):
        return [comparison]
    fresh = [one for one in result.undisturbed if one.confirms]
    again = _compare(result, fresh, stored) if fresh else None
    return [] if again is None else [comparison, again]


def _enough(run: Run) -> int:
    """Returns the number of undisturbed launches that a verdict needs: more than half of those asked for."""
    return run.options.launches // 2 + 1


def _without_comparison(
    result: CaseResult, stored: TimingReference | None, reference: Reference, enough: int
) -> Finding:
    outcome = result.outcomes[GATE]
    if outcome.status in {Status.SKIPPED, Status.FAILED} or not result.timings:
        return not_measured(result, GATE)
    if len(result.undisturbed) < enough:
        if any(one.disturbed for one in result.timings):
            return finding(result, GATE, Verdict.INVALID, _disturbance(result.timings))
        why = reason(ReasonCode.FEW_LAUNCHES, launches=len(result.timings))
        return finding(result, GATE, Verdict.FAILED, why)
    if stored is None or stored.version != result.case.version:
        found = without_reference(result, GATE, reference, None if stored is None else stored.version)
        return _with_nearest(found, reference)
    return finding(result, GATE, Verdict.NO_BASELINE, reason(ReasonCode.OTHER_CONTROLS))


def _with_nearest(found: Finding, reference: Reference) -> Finding:
    """Adds the median of the machine that is most like this one, which judges nothing."""
    nearest = reference.nearest.get(found.case)
    if nearest is None:
        return found
    value = median(launch.median_s for one in nearest.runs for launch in one)
    return found.model_copy(update={"evidence": {**found.evidence, "nearest_machine_s": value}})


def _disturbance(launches: Sequence[Timing]) -> Reason:
    """Returns the most frequent disturbance, and in how many launches there was any."""
    disturbed = [one for one in launches if one.disturbed]
    causes = [one.disturbed for one in disturbed]
    often = disturbed[causes.index(max(causes, key=causes.count))]
    gpu = None if often.gpu is None or often.gpu.disturbed != often.disturbed else often.gpu
    kind = "core" if gpu is None or gpu.disturbance is None else gpu.disturbance.value
    by = gpu.throttled or () if gpu is not None else ()
    return reason(ReasonCode.DISTURBED, kind=kind, by=[*by], launches=len(disturbed), of=len(launches))


TIMING_GATE = Gate(name=GATE, judge=judge, accepted=lambda reference, _: reference.timing.values())
