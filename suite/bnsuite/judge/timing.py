"""The timing gate against a stored baseline of the same machine: coarse by nature, since a machine drifts.

A launch is one value: the logarithm of a case's median over a control's median in the same process. Two controls
ride along, and a change counts only as far as neither of them shows it: against the *linear* control alone, a
neighbour that fills the memory bus made batch norm look up to 28 % slower, against the *copy* control alone it
looked up to 39 % faster; what both agreed on stayed under 6 % (two shared virtual cores, 12 quiet and 6 disturbed
launches). Other cases and neighbours leave more, so that a regression must also be far beyond what the controls
strayed (`STRAY_FACTOR`). Controls are too short to see a core being shared; the launch's own processor time does.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1, log, log1p, sqrt
from statistics import fmean, median, stdev

from bnsuite.judge import ratios
from bnsuite.judge.statistics import Estimate, benjamini_hochberg, satterthwaite
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.reference import LaunchValue, Reference, TimingReference, condense
from bnsuite.record.schema import CaseResult, Run, Status

GATE = "timing"
#: The control that moves as many bytes as the case must.
COPY = "copy"

#: The share of the limit above which a measurement must be broken. A copy is no hard limit: where a step moves just
#: what a copy does, as batch norm in evaluation, 107 % was seen on two shared virtual cores.
MAX_SHARE = 1.25
#: A change smaller than this is never called a regression: the floor for a number stored on another day.
FLOOR = 0.10
#: The baseline's own launches must not reach the threshold: it lies this many of their deviations away.
DEVIATIONS = 3.0
#: False alarms are held under this share, over all cases of a run (Benjamini-Hochberg).
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
#: A control that moved this much (log scale) since the baseline tells that the machine, or all of the environment,
#: is another one now; over 19 quiet runs no launch of the product strayed by more than 14 %, of the copy by 53 %.
CONTROL_LIMIT = log(1.25)
#: Controls tell that a machine is in another state, not how much that slows every case. What they leave unexplained
#: must be this many times what they strayed themselves: beside neighbours on the other core (one fills the memory, one
#: runs Python, one trains and sorts) it was up to 1.6 times that, in five quick runs of 23 unchanged cases.
STRAY_FACTOR = 2.0
#: What a control that changed tells.
ELSEWHERE = "another state of the machine, or all of the environment"


@dataclass(frozen=True)
class _Comparison:
    #: The change (log scale) against the control that was quietest in the baseline.
    change: Estimate
    #: The part of the change that every control leaves unexplained.
    agreed: float
    threshold: float
    #: What the controls themselves did since the baseline, as relative changes.
    controls: dict[str, float]
    #: The control that `change` is held against.
    quietest: str

    @property
    def p(self) -> float:
        return self.change.p_two_sided()

    @property
    def direction(self) -> int:
        """1 for slower than the threshold allows, -1 for faster, 0 for neither."""
        return (self.agreed > self.threshold) - (self.agreed < -self.threshold)

    @property
    def strayed(self) -> float:
        """How far the control that strayed most is from the baseline's, as a relative change."""
        return expm1(max(abs(log1p(change)) for change in self.controls.values()))

    @property
    def beyond_controls(self) -> bool:
        """Whether what the controls leave unexplained is more than they stray with a machine's state."""
        return expm1(abs(self.agreed)) > STRAY_FACTOR * self.strayed


def judge(run: Run, reference: Reference) -> list[Finding]:
    """One finding for each case with a timing gate."""
    findings: dict[str, Finding] = {}
    compared: dict[str, tuple[CaseResult, _Comparison]] = {}
    for result in run.cases:
        if GATE not in result.outcomes:
            continue
        if impossible := _impossible(result):
            findings[result.id] = Finding(case=result.id, gate=GATE, verdict=Verdict.FAILED, summary=impossible)
            continue
        if result.case.bounds and len(result.undisturbed) >= _enough(run):
            findings[result.id] = _unless_it_failed(result, ratios.judge(run, result))
            continue
        stored = reference.timing.get(result.id)
        comparison = None
        if len(result.undisturbed) >= _enough(run) and stored is not None and stored.version == result.case.version:
            comparison = _compare([condense(one) for one in result.undisturbed], stored)
        if comparison is not None:
            compared[result.id] = result, comparison
        else:
            findings[result.id] = _without_comparison(result, stored, reference, _enough(run))
    adjusted = benjamini_hochberg([one.p for _, one in compared.values()])
    for (name, (result, comparison)), p in zip(compared.items(), adjusted, strict=True):
        found = _verdict(result, comparison, p, reference.timing[name])
        if looks_slower(found):
            found = found.model_copy(update={"summary": found.summary + how_to_confirm(run, name, reference)})
        findings[name] = found
    return [findings[result.id] for result in run.cases if result.id in findings]


def _unless_it_failed(result: CaseResult, finding: Finding) -> Finding:
    """A finding of the launches before the one that failed: only a regression stands."""
    outcome = result.outcomes[GATE]
    if outcome.status is not Status.FAILED or finding.verdict is Verdict.REGRESSED:
        return finding
    text = f"after {len(result.timings)} launches: {outcome.reason}"
    return finding.model_copy(update={"verdict": Verdict.FAILED, "summary": text})


def looks_slower(finding: Finding) -> bool:
    """Whether a finding against a stored baseline is slower: a regression, or one if it were not for the controls."""
    verdicts = {Verdict.REGRESSED, Verdict.INCONCLUSIVE}
    return finding.gate == GATE and finding.verdict in verdicts and bool(finding.evidence.get("slower"))


def how_to_confirm(run: Run, case: str, reference: Reference) -> str:
    """What settles whether a case is slower, as the end of its summary."""
    environments, instead = f"{reference.environment([case]) or 'A'} .", ""
    if run.options.implementation is not None:
        environments, instead = ". .", f" --impl-b {run.options.implementation}"
    return f"; --confirm settles it, or `bnsuite ab {environments}{instead} -k '{case}'`"


def share_of_limit(result: CaseResult) -> float | None:
    """The least traffic of a case over what a copy of as many bytes moved in the same time and launch, or None.

    The fastest round of the copy stands for the limit; the middle launch for the case.
    """
    launches = [one for one in result.undisturbed if COPY in one.controls_s]
    if result.case.nbytes is None or not launches:
        return None
    return median(min(one.controls_s[COPY]) / median(one.samples_s) for one in launches)


def _impossible(result: CaseResult) -> str | None:
    """Why the measurement must be broken, if it must."""
    share = share_of_limit(result)
    if share is None or share <= MAX_SHARE:
        return None
    return (
        f"broken measurement: {share:.0%} of the limit; it can't move its {result.case.nbytes} bytes faster than "
        "a copy beside it does"
    )


def _compare(launches: list[LaunchValue], stored: TimingReference) -> _Comparison | None:
    """None where no control is common to all launches."""
    accepted = [launch for one in stored.runs for launch in one]
    names = sorted(set.intersection(*(set(launch.controls_s) for launch in (*launches, *accepted))))
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
    )


def _change(launches: list[LaunchValue], stored: TimingReference, control: str) -> Estimate:
    """How much slower (log scale) than stored, with the error that launches and the drift between runs make."""
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
    """The deviation inside groups, each about its own mean; zero where no group has two values."""
    squares = sum(sum((value - fmean(group)) ** 2 for value in group) for group in groups)
    freedom = sum(len(group) - 1 for group in groups)
    return sqrt(squares / freedom) if freedom else 0.0


def _verdict(result: CaseResult, comparison: _Comparison, p: float, stored: TimingReference) -> Finding:
    change, threshold = comparison.change, comparison.threshold
    low, high = change.interval(LEVEL)
    limit = expm1(threshold)
    control = comparison.controls[comparison.quietest]
    shown = _shown(result, comparison, stored)
    slower = p < ALPHA and bool(shown) and all(one.p < ALPHA and one.direction > 0 for one in shown)
    if slower:
        text = f"slower by {expm1(change.mean):.0%}, where the baseline allows {limit:.0%}"
        if all(one.beyond_controls for one in shown):
            verdict = Verdict.REGRESSED
        else:
            verdict = Verdict.INCONCLUSIVE
            text += f", but not by twice what a plain operation of torch's own strayed: {ELSEWHERE}"
    elif abs(log1p(control)) > CONTROL_LIMIT:
        verdict = Verdict.INCONCLUSIVE
        text = f"a plain operation of torch's own changed as much: {ELSEWHERE}"
    elif p < ALPHA and comparison.direction < 0:
        verdict, text = Verdict.IMPROVED, f"faster by {-expm1(change.mean):.0%}"
    elif high < threshold:
        verdict, text = Verdict.PASS, f"within {limit:.0%} of the baseline"
    else:
        verdict, text = Verdict.INCONCLUSIVE, f"not shown to be within {limit:.0%} of the baseline"
    if verdict is not Verdict.PASS:
        moved = ", ".join(f"{name} {share:+.0%}" for name, share in comparison.controls.items())
        text += f"; controls since then: {moved}"
    found = Finding(
        case=result.id,
        gate=GATE,
        verdict=verdict,
        summary=text,
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
        },
    )
    return _unless_it_failed(result, found)


def _shown(result: CaseResult, comparison: _Comparison, stored: TimingReference) -> list[_Comparison]:
    """All that must show a regression: `comparison`, and that of the launches made to confirm it, if any were made.

    Empty where those gave nothing to compare.
    """
    if not any(one.confirms for one in result.timings):
        return [comparison]
    fresh = [condense(one) for one in result.undisturbed if one.confirms]
    again = _compare(fresh, stored) if fresh else None
    return [] if again is None else [comparison, again]


def _enough(run: Run) -> int:
    """How many undisturbed launches a verdict needs: more than half of those asked for."""
    return run.options.launches // 2 + 1


def _without_comparison(
    result: CaseResult, stored: TimingReference | None, reference: Reference, enough: int
) -> Finding:
    outcome = result.outcomes[GATE]
    if outcome.status is Status.SKIPPED:
        verdict, text = Verdict.SKIPPED, outcome.reason or "no reason given"
    elif outcome.status is Status.FAILED or not result.timings:
        verdict, text = Verdict.FAILED, outcome.reason or "not measured: the run ended before"
    elif len(result.undisturbed) < enough and any(one.disturbed for one in result.timings):
        verdict, text = Verdict.INVALID, _disturbance(result)
    elif len(result.undisturbed) < enough:
        verdict, text = Verdict.FAILED, f"only {len(result.timings)} launches: the run ended before"
    elif stored is None:
        verdict, text = (
            Verdict.NO_BASELINE,
            reference.no_timing or f"not in {reference.name}{reference.advice}",
        )
    elif stored.version != result.case.version:
        verdict = Verdict.NO_BASELINE
        text = f"the baseline is of version {stored.version} of this workload, the run of {result.case.version}"
    else:
        verdict, text = Verdict.NO_BASELINE, "the baseline was measured beside other controls"
    return Finding(case=result.id, gate=GATE, verdict=verdict, summary=text)


def _disturbance(result: CaseResult) -> str:
    reasons = [one.disturbed for one in result.timings if one.disturbed]
    often = max(reasons, key=reasons.count)
    hint = "end it, or give bnsuite a core of its own (taskset, docker run --cpuset-cpus)"
    if "GPU" in often:
        hint = "cool it, or lock its clocks" if "throttled" in often else "end it; `nvidia-smi` names it"
    return f"{often} in {len(reasons)} of {len(result.timings)} launches; {hint}"
