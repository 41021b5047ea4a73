"""The gates of checks: numerics and behaviour are right, on every machine.

A number with a limit is wrong above it. Below it, it is wrong where it is 3 times the accepted one and more than a
third of the limit, so that drift shows before it does damage. A word is wrong if it is not the expected one. An
observation with neither is compared with the baseline alone: a word to the letter, a number within 5 %. An accepted
observation that a run lacks is missing. A known deviation is pinned, with its reason, in the baselines.

Some limits were found on CPUs. On a GPU a number below such a limit is right. One above it has no verdict until it is
known how large it is there: by a calibration, or from an accepted run, of which it may be 3 times.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from glob import escape

from bnsuite.judge.gate import Accepted, Gate
from bnsuite.judge.outcomes import not_measured, without_reference
from bnsuite.judge.reason import Reason, ReasonCode, Record, first_of, reason
from bnsuite.judge.verdict import EvidenceValue, Finding, Verdict
from bnsuite.record.calibration import CalibratedLimit
from bnsuite.record.functions import ROLES
from bnsuite.record.lines import CHECKS, CheckLine, kind_of_device
from bnsuite.record.pins import Pin
from bnsuite.record.reference import Reference
from bnsuite.record.schema import CHECK_GATES, CaseResult, Observation, Run, Status

NUMERICS, BEHAVIOUR = CHECK_GATES

#: A number has drifted from this many times the accepted one on, if it is also more than this share of its limit.
DRIFT = 3.0
DRIFT_FLOOR = 1 / 3
#: The tolerated relative change of a number that only the baseline can judge.
MARGIN = 0.05
#: The value that a pin gives an accepted observation which a run may lack.
NOT_SEEN = "not seen"
#: A number this large stands for one that is not finite (see ``cases/checks/case.py``): wrong on every device.
NOT_FINITE = 1e30
#: Reasons named of one case; the rest is counted.
MAX_NAMED = 3

PinOf = Callable[[Observation], Pin | None]


class SharedDeviation(Pin):
    """A deviation of the trusted environment, which one measured beside it may have as well."""

    #: The name of the trusted environment.
    reason: str


@dataclass
class _Sorted:
    """The observations of a case, sorted by their verdicts."""

    wrong: list[Record] = field(default_factory=list)
    pinned: list[Record] = field(default_factory=list)
    #: Names of accepted observations that the run lacks.
    gone: list[str] = field(default_factory=list)
    #: Names of observations that only a baseline could judge, and that it has not.
    unknown: list[str] = field(default_factory=list)
    #: Numbers above a limit that was found on CPUs, on a GPU of which they are not known.
    uncalibrated: list[Record] = field(default_factory=list)
    better: list[Record] = field(default_factory=list)
    #: Numbers as shares of their limits.
    shares: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Calibrated:
    """The limits of a case on the device that it was measured on."""

    #: Patterns of the observations whose limits were found on CPUs; none on a CPU.
    patterns: tuple[str, ...]
    limits: Mapping[str, CalibratedLimit]

    def settle(self, one: Observation, accepted: float | str | None) -> Observation | None:
        """Returns `one` with the limit that judges it here; None for a number that only a calibration can judge."""
        if one.limit is None or not is_from_cpu(one, self.patterns):
            return one
        if (known := self.limits.get(one.what)) is not None:
            return one.model_copy(update={"limit": known.limit})
        if isinstance(one.value, str) or one.value <= one.limit or one.value >= NOT_FINITE:
            return one
        if isinstance(accepted, str | None):
            return None
        return one.model_copy(update={"limit": max(one.limit, DRIFT * accepted)})


def is_from_cpu(one: Observation, patterns: Sequence[str]) -> bool:
    """Returns True if an observation has a limit that was found on CPUs; `patterns` are those of its case."""
    return one.limit is not None and any(fnmatchcase(one.what, pattern) for pattern in patterns)


def _calibrated(run: Run, result: CaseResult, reference: Reference) -> _Calibrated:
    """Returns the limits of a case of `run`; those of a CPU are the shipped ones."""
    known = reference.calibration
    return _Calibrated(
        patterns=result.case.to_calibrate if kind_of_device(run) != "cpu" else (),
        limits=known.limits_of(result.id, result.case.version) if known is not None else {},
    )


def judge_numerics(run: Run, reference: Reference) -> list[Finding]:
    """Returns one finding for each case with a numerics gate."""
    return _judge(run, reference, NUMERICS)


def judge_behaviour(run: Run, reference: Reference) -> list[Finding]:
    """Returns one finding for each case with a behaviour gate."""
    return _judge(run, reference, BEHAVIOUR)


def deviations(run: Run, name: str) -> tuple[Pin, ...]:
    """Returns the deviations of a trusted run, called `name`, as pins for one measured beside it."""
    return tuple(
        SharedDeviation(
            case=escape(result.id),
            what=escape(one.what),
            device="any",
            torch="",
            value=one.value if isinstance(one.value, str) else one.value * DRIFT,
            reason=name,
        )
        for result in run.cases
        for one in deviating(result)
    )


def reasons(run: Run, case: str, pins: Collection[Pin]) -> list[str]:
    """Returns the reasons of the pins that cover a deviation of a case of `run`."""
    wrong = [one for result in run.cases if result.id == case for one in deviating(result)]
    return list(dict.fromkeys(pin.reason for one in wrong for pin in pins if pin.covers(run, case, one)))


def is_deviating(one: Observation) -> bool:
    """Returns True if an observation is wrong whatever was accepted."""
    return (one.expected is not None or one.limit is not None) and _wrong(one, None) is not None


def deviating(result: CaseResult) -> list[Observation]:
    """Returns the observations that are wrong whatever was accepted."""
    return [one for one in result.observations if is_deviating(one)]


def _judge(run: Run, reference: Reference, gate: str) -> list[Finding]:
    lines = CHECKS.lines_of(reference.lines)
    return [
        _judge_case(run, result, reference, lines.get(result.id), gate)
        for result in run.cases
        if gate in result.outcomes
    ]


def _judge_case(run: Run, result: CaseResult, reference: Reference, stored: CheckLine | None, gate: str) -> Finding:
    if result.outcomes[gate].status is not Status.MEASURED:
        return not_measured(result, gate)
    if stored is not None and stored.version != result.case.version:
        stored = None
    found = _Sorted()
    pin_of = partial(_pin_of, run, result, reference)
    limits = _calibrated(run, result, reference)
    for one in result.observations:
        _sort(one, stored, pin_of, limits, found)
    if stored is not None and not run.options.replaces:  # another layer may have fewer parts
        _sort_gone(stored, result, pin_of, found)
    verdict, why = _verdict(run, result, gate, found, reference)
    evidence: dict[str, EvidenceValue] = {
        "observations": len(result.observations),
        "pinned": len(found.pinned),
    }
    if found.shares:
        evidence["nearest_to_a_limit"] = min(
            max(found.shares), sys.float_info.max
        )  # a limit may be as small as it likes
    return Finding(case=result.id, gate=gate, verdict=verdict, reason=why, evidence=evidence)


def _verdict(run: Run, result: CaseResult, gate: str, found: _Sorted, reference: Reference) -> tuple[Verdict, Reason]:
    has_calibration = None if kind_of_device(run) == "cpu" else reference.calibration is not None
    if found.wrong:
        named, more = first_of(found.wrong, MAX_NAMED)
        why = reason(
            ReasonCode.DEVIATIONS,
            deviations=[*named],
            more=more,
            rule=result.case.rule,
            threads=[*result.case.threads],
        )
        return Verdict.REGRESSED, why
    if found.gone:
        return Verdict.MISSING, _names(
            ReasonCode.OBSERVATIONS_GONE, found.gone, reference=reference.name, acceptable=reference.acceptable
        )
    if found.uncalibrated:
        named, more = first_of(found.uncalibrated, MAX_NAMED)
        why = reason(ReasonCode.LIMITS_NOT_CALIBRATED, deviations=[*named], more=more, calibrated=bool(has_calibration))
        return Verdict.NO_BASELINE, why
    if found.unknown:
        absent = without_reference(result, gate, reference).reason
        return Verdict.NO_BASELINE, _names(
            ReasonCode.OBSERVATIONS_UNKNOWN, found.unknown, reason=absent, calibrated=has_calibration
        )
    if found.better:
        named, more = first_of(found.better, MAX_NAMED)
        return Verdict.IMPROVED, reason(ReasonCode.BETTER_THAN_ACCEPTED, deviations=[*named], more=more)
    named, more = first_of(found.pinned, MAX_NAMED)
    return Verdict.PASS, reason(ReasonCode.AS_EXPECTED, pinned=[*named], more=more)


def _names(code: ReasonCode, names: Sequence[str], **data: str | bool | Reason | None) -> Reason:
    named, more = first_of(names, MAX_NAMED)
    return reason(code, names=[*named], more=more, **data)


def _pin_of(run: Run, result: CaseResult, reference: Reference, one: Observation) -> Pin | None:
    """Returns the pin that covers a deviation, if there is one; those of torch's functions excuse no user's."""
    if any(result.id.startswith(ROLES[role].family) for role in run.options.functions):
        return None
    return next((pin for pin in reference.pins if pin.covers(run, result.id, one)), None)


def _pinned(name: str, pin: Pin) -> Record:
    return {"what": name, "shared_with" if isinstance(pin, SharedDeviation) else "reason": pin.reason}


def _sort(one: Observation, stored: CheckLine | None, pin_of: PinOf, limits: _Calibrated, into: _Sorted) -> None:
    """Sorts an observation; `pin_of` is called for wrong ones alone, which are few of many."""
    accepted = stored.observed.get(one.what) if stored else None
    if one.expected is None and one.limit is None and accepted is None:
        into.unknown.append(one.what)
        return
    settled = limits.settle(one, accepted)
    if settled is None and (pin := pin_of(one)):
        into.pinned.append(_pinned(one.what, pin))
        return
    if settled is None:
        into.uncalibrated.append({"what": one.what, "value": one.value, "limit": one.limit})
        return
    one = settled
    if one.limit and not isinstance(one.value, str):
        into.shares.append(one.value / one.limit)
    wrong = _wrong(one, accepted)
    if wrong and (pin := pin_of(one)):
        into.pinned.append(_pinned(one.what, pin))
    elif wrong:
        into.wrong.append(wrong)
    elif better := _better(one, accepted):
        into.better.append(better)


def _sort_gone(stored: CheckLine, result: CaseResult, pin_of: PinOf, into: _Sorted) -> None:
    """Sorts the accepted observations of a case that the run lacks."""
    there = {one.what for one in result.observations}
    for what in stored.observed:
        if what in there:
            continue
        if pin := pin_of(Observation(what=what, value=NOT_SEEN)):
            into.pinned.append(_pinned(what, pin))
        else:
            into.gone.append(what)


def _wrong(one: Observation, accepted: float | str | None) -> Record | None:
    """Returns the deviation of an observation, or None if it is right."""
    seen: Record = {"what": one.what, "value": one.value}
    if one.expected is not None:
        return None if one.value == one.expected else {**seen, "expected": one.expected}
    if one.limit is not None:
        return _over(one, one.limit, accepted)
    if isinstance(accepted, str) or isinstance(one.value, str):
        return None if accepted == one.value else {**seen, "accepted": accepted}
    assert accepted is not None
    return {**seen, "accepted": accepted} if _change(one.value, accepted) > MARGIN else None


def _better(one: Observation, accepted: float | str | None) -> Record | None:
    """Returns the improvement of an observation that only the baseline can judge, or None."""
    alone = one.expected is None and one.limit is None
    if not alone or isinstance(one.value, str) or isinstance(accepted, str | None):
        return None
    better = _change(one.value, accepted) < -MARGIN
    return {"what": one.what, "value": one.value, "accepted": accepted} if better else None


def _change(value: float, accepted: float) -> float:
    return (value - accepted) / abs(accepted) if accepted else float(value > 0) - float(value < 0)


def _over(one: Observation, limit: float, accepted: float | str | None) -> Record | None:
    """Returns the deviation of a number that has a limit, or None."""
    seen: Record = {"what": one.what, "value": one.value}
    if isinstance(one.value, str) or one.value > limit:
        return {**seen, "limit": limit}
    if isinstance(accepted, float | int) and one.value > max(DRIFT * accepted, DRIFT_FLOOR * limit):
        return {**seen, "accepted": accepted, "times": min(one.value / max(accepted, 1e-300), sys.float_info.max)}
    return None


def _accepted(gate: str, reference: Reference) -> list[Accepted]:
    return [one for one in CHECKS.lines_of(reference.lines).values() if one.gate == gate]


NUMERICS_GATE = Gate(
    name=NUMERICS, judge=judge_numerics, accepted=lambda reference, _: _accepted(NUMERICS, reference), counted=True
)
BEHAVIOUR_GATE = Gate(
    name=BEHAVIOUR, judge=judge_behaviour, accepted=lambda reference, _: _accepted(BEHAVIOUR, reference), counted=True
)
