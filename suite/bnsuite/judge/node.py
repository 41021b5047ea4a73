"""The GPUs of one node, each measured by itself and all at once, and the one that is unlike its peers.

The value of a launch is the logarithm of a case's median step. A device is compared with the median of all of its
model, itself among them, so that one bad peer moves nobody's verdict; of two, with the other. It is unlike its peers if
the ratio is beyond a margin in some case, by a one-sided test whose p-values are adjusted (Holm) over all devices,
cases, passes and both directions: of nodes whose devices all lie within the margin, no more than ALPHA give an alarm.
The margin is MARGIN, or MAD_FACTOR times the spread of the peers (median absolute deviation, scaled to a standard
deviation) where there are at least three and that is more. ``docs/how-to/several-gpus.md`` has the rates of false
alarms by simulation.

Of two devices either may be the odd one: the slower is named, with its only peer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import expm1, log, pi, sqrt
from statistics import fmean, median
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bnsuite.judge.statistics import Estimate, holm, moderate
from bnsuite.judge.verdict import ExitStatus, Verdict
from bnsuite.record.migrations import Migration
from bnsuite.record.quantities import Count, Number
from bnsuite.record.schema import CaseResult, Run, Value, Versioned

#: The chance that any device of a node is named though all lie within the margin.
ALPHA = 0.01
#: A difference that is no reason to call a device unlike its peers. It is chosen, and not calibrated on GPUs.
MARGIN = 0.05
#: So many spreads of its peers a device may lie away from them.
MAD_FACTOR = 3.0
#: The median absolute deviation of normal numbers times this is their standard deviation.
MAD_SCALE = 1.4826
#: The interval that is shown; PASS is given where it lies within the margin.
LEVEL = 0.90
#: Launches deviate at least about this much (log scale), which weighs as much as so many launches of the case itself.
USUAL_DEVIATION, PRIOR_LAUNCHES = 0.01, 2
#: Launches that a device needs in a case.
MIN_LAUNCHES = 2

Pass = Literal["alone", "together"]


class NodeRow(Value):
    """One case on one device relative to its peers: the time over that of the median of its model, less 1."""

    phase: Pass
    device: str
    case: str
    median_s: Annotated[Number, Field(gt=0)]
    launches: Count
    change: Number
    low: Number
    high: Number
    margin: Number
    #: Adjusted over the node.
    p: Number
    verdict: Verdict


class Slowdown(Value):
    """The time of a device's cases with all at work over that alone, less 1: the median case, and its interval."""

    change: Number
    low: Number
    high: Number
    cases: Count


class NodeDevice(Value):
    """One device of a node: what it is, where its runs lie below the node's folder, and how they ended."""

    device: str
    model: str
    uuid: str | None
    #: None where nothing could be measured, or not in that pass.
    alone: str | None
    together: str | None
    #: The exit status of its own run, judged against the baselines of its model.
    status: ExitStatus
    #: Why it could not be measured to its end or compared, if it could not.
    trouble: str | None = None
    slowdown: Slowdown | None = None


class NodeReport(Versioned):
    """The verdict on a node. History of the schema: 1, in 0.6.0, is the first."""

    SCHEMA: ClassVar[int] = 1
    MIGRATIONS: ClassVar[dict[int, Migration]] = {}

    bnsuite: str
    started: str
    finished: bool
    alpha: Number = ALPHA
    devices: tuple[NodeDevice, ...]
    rows: tuple[NodeRow, ...]
    #: The devices that are unlike their peers, the one with the most such cases first.
    unlike: tuple[str, ...]
    status: ExitStatus


@dataclass(frozen=True)
class DeviceRuns:
    """The runs of one device; `together` is None where they were not all measured at once."""

    device: str
    model: str
    uuid: str | None
    alone: Run
    together: Run | None = None


@dataclass(frozen=True)
class _Candidate:
    phase: Pass
    device: str
    result: CaseResult
    estimate: Estimate
    margin: float

    @property
    def p_slower(self) -> float:
        return self.estimate.p_above(self.margin)

    @property
    def p_faster(self) -> float:
        return self.estimate.p_below(-self.margin)


def rows(runs: Sequence[DeviceRuns]) -> list[NodeRow]:
    """Returns every case of every device that has peers, relative to them."""
    found: list[_Candidate] = []
    for model in dict.fromkeys(one.model for one in runs):
        peers = [one for one in runs if one.model == model]
        found += _of_phase("alone", {one.device: one.alone for one in peers})
        found += _of_phase("together", {one.device: one.together for one in peers if one.together is not None})
    adjusted = holm([p for one in found for p in (one.p_slower, one.p_faster)])
    return [_row(one, *adjusted[2 * place : 2 * place + 2]) for place, one in enumerate(found)]


def unlike(found: Sequence[NodeRow]) -> tuple[str, ...]:
    """Returns the devices with a case that is slower or faster than their peers', those with the most first.

    Of two devices that are unlike one another the slower is named.
    """
    odd = [one for one in found if one.verdict in {Verdict.REGRESSED, Verdict.IMPROVED}]
    devices = {one.device for one in found}
    if len(devices) == 2:
        odd = [one for one in odd if one.verdict is Verdict.REGRESSED]
    count = {device: sum(one.device == device for one in odd) for device in dict.fromkeys(one.device for one in odd)}
    return tuple(sorted(count, key=lambda device: -count[device]))


def slowdown(runs: DeviceRuns) -> Slowdown | None:
    """Returns how much slower a device's cases are with all devices at work; None where that was not measured.

    The interval is that of the median case: of its launches.
    """
    if runs.together is None:
        return None
    together = {one.id: values(one) for one in runs.together.cases}
    found = []
    for one in runs.alone.cases:
        alone, beside = values(one), together.get(one.id, [])
        if _counts(one) and min(len(alone), len(beside)) >= MIN_LAUNCHES:
            spread, freedom = _spread([alone, beside])
            error = spread * sqrt(1 / len(alone) + 1 / len(beside))
            found.append(Estimate(fmean(beside) - fmean(alone), error, freedom))
    if not found:
        return None
    middle = sorted(found, key=lambda one: one.mean)[len(found) // 2]
    low, high = middle.interval(LEVEL)
    return Slowdown(change=expm1(middle.mean), low=expm1(low), high=expm1(high), cases=len(found))


def trouble(runs: DeviceRuns, found: Sequence[NodeRow], peers: int) -> str | None:
    """Returns why a device is not compared with its peers; None if it is, or if no case of its run is to be."""
    if any(one.device == runs.device for one in found) or not any(_counts(one) for one in runs.alone.cases):
        return None
    if peers == 0:
        return f"no other device here is a {runs.model}"
    return "no case has enough undisturbed launches on it and on a peer"


def status(found: Sequence[NodeRow], devices: Sequence[NodeDevice], *, finished: bool, strict: bool) -> ExitStatus:
    """Returns the exit status of a node: that of its runs, and 1 where a device is slower than its peers.

    With `strict` it is 3 where it is undecided whether a device is like its peers.
    """
    slower = any(one.verdict is Verdict.REGRESSED for one in found)
    if slower or any(one.status is ExitStatus.REGRESSED for one in devices):
        return ExitStatus.REGRESSED
    if not finished or any(one.status is not ExitStatus.FINE or one.trouble for one in devices):
        return ExitStatus.NOT_MEASURED
    undecided = strict and any(one.verdict is Verdict.INCONCLUSIVE for one in found)
    return ExitStatus.NOT_MEASURED if undecided else ExitStatus.FINE


def values(result: CaseResult) -> list[float]:
    """Returns the logarithm of the median step of every launch that counts."""
    return [log(median(one.samples_s)) for one in result.undisturbed]


def _counts(result: CaseResult) -> bool:
    """Returns if a case's times are those of one device alone."""
    return "timing" in result.outcomes and result.case.kind != "ratio" and result.case.ranks == 1


def _of_phase(phase: Pass, runs: Mapping[str, Run]) -> list[_Candidate]:
    by_case: dict[str, dict[str, CaseResult]] = {}
    for device, run in runs.items():
        for result in run.cases:
            if _counts(result) and len(result.undisturbed) >= MIN_LAUNCHES:
                by_case.setdefault(result.id, {})[device] = result
    found = []
    for results in by_case.values():
        if len(results) > 1:
            launches = {device: values(result) for device, result in results.items()}
            for device, result in results.items():
                estimate, margin = compare(launches, device)
                found.append(_Candidate(phase, device, result, estimate, margin))
    return found


def compare(launches: Mapping[str, list[float]], device: str) -> tuple[Estimate, float]:
    """Returns a device's value less the median of its model's (log scale), and the margin; both of one case.

    The error is that of the difference from k peers which are measured apart: their mean where k is 1 or 2, and their
    median, whose variance is pi / 2 times that of the mean, for more. The device's own part in the median makes the
    true error smaller.
    """
    centres = {one: fmean(seen) for one, seen in launches.items()}
    peers = [centre for one, centre in centres.items() if one != device]
    middle = median(centres.values() if len(peers) > 1 else peers)
    spread, freedom = _spread(list(launches.values()))
    count = fmean(len(seen) for one, seen in launches.items() if one != device)
    efficiency = 1.0 if len(peers) < 3 else pi / 2
    error = spread * sqrt(1 / len(launches[device]) + efficiency / (len(peers) * count))
    margin = log(1 + MARGIN)
    if len(peers) >= 3:
        margin = max(margin, MAD_FACTOR * MAD_SCALE * median(abs(one - middle) for one in peers))
    return Estimate(centres[device] - middle, error, freedom), margin


def _spread(groups: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Returns the moderated deviation of launches of one device, and its degrees of freedom."""
    squares = sum(sum((value - fmean(group)) ** 2 for value in group) for group in groups)
    freedom = sum(len(group) - 1 for group in groups)
    variance, freedom_moderated = moderate(
        squares / freedom if freedom else 0.0, freedom, USUAL_DEVIATION, PRIOR_LAUNCHES
    )
    return sqrt(variance), freedom_moderated


def _row(one: _Candidate, p_slower: float, p_faster: float) -> NodeRow:
    low, high = one.estimate.interval(LEVEL)
    if p_slower < ALPHA:
        verdict = Verdict.REGRESSED
    elif p_faster < ALPHA:
        verdict = Verdict.IMPROVED
    elif -one.margin < low and high < one.margin:
        verdict = Verdict.PASS
    else:
        verdict = Verdict.INCONCLUSIVE
    return NodeRow(
        phase=one.phase,
        device=one.device,
        case=one.result.id,
        median_s=median(median(timing.samples_s) for timing in one.result.undisturbed),
        launches=len(one.result.undisturbed),
        change=expm1(one.estimate.mean),
        low=expm1(low),
        high=expm1(high),
        margin=expm1(one.margin),
        p=min(p_slower, p_faster),
        verdict=verdict,
    )
