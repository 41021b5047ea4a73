"""The gates of checks: what is seen of numerics and behaviour is right, on whatever machine.

A number with a limit is wrong above it. Below it, it is wrong where it is 3 times what was accepted and more than a
third of the limit, so that drift is told before it is damage. A word is wrong if it is not the expected one. What has
neither is held against the baseline alone: a word to the letter, a number within 5 %. What was accepted and is not seen
any more is missing. A known deviation is pinned, with its reason, in the baselines.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from glob import escape

from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.lines import CheckLine
from bnsuite.record.pins import Pin
from bnsuite.record.reference import Reference
from bnsuite.record.schema import CHECK_GATES, CaseResult, Observation, Run, Status

NUMERICS, BEHAVIOUR = CHECK_GATES

#: Times the accepted number, and share of its limit, from which on a number has drifted.
DRIFT = 3.0
DRIFT_FLOOR = 1 / 3
#: Where only the accepted number tells: the relative change that is let pass.
MARGIN = 0.05
#: What stands for an observation that was accepted and that a run has not, where a pin is to let that pass.
NOT_SEEN = "not seen"
#: Reasons told of one case; the rest is counted.
TOLD = 3


@dataclass
class _Sorted:
    """The observations of a case by what is said of them, each in words."""

    wrong: list[str] = field(default_factory=list)
    pinned: list[str] = field(default_factory=list)
    #: What was accepted, and this run has not.
    gone: list[str] = field(default_factory=list)
    #: What there was nothing to hold against.
    unknown: list[str] = field(default_factory=list)
    better: list[str] = field(default_factory=list)


def judge_numerics(run: Run, reference: Reference) -> list[Finding]:
    """One finding for each case with a numerics gate."""
    return _judge(run, reference, NUMERICS)


def judge_behaviour(run: Run, reference: Reference) -> list[Finding]:
    """One finding for each case with a behaviour gate."""
    return _judge(run, reference, BEHAVIOUR)


def deviations(run: Run, name: str) -> tuple[Pin, ...]:
    """What is wrong in a run that is trusted all the same, as pins: one measured beside it may do it as well."""
    return tuple(
        Pin(
            case=escape(result.id),
            what=escape(one.what),
            device="any",
            torch="",
            value=one.value if isinstance(one.value, str) else one.value * DRIFT,
            reason=f"{name} does it too",
        )
        for result in run.cases
        for one in _deviating(result)
    )


def reasons(run: Run, case: str, pins: Collection[Pin]) -> list[str]:
    """Why what is wrong with a case of `run` is known, by these pins."""
    wrong = [one for result in run.cases if result.id == case for one in _deviating(result)]
    return list(dict.fromkeys(pin.reason for one in wrong for pin in pins if pin.covers(run, case, one)))


def _deviating(result: CaseResult) -> list[Observation]:
    """What is wrong by itself, whatever was accepted."""
    told = [one for one in result.observations if one.expected is not None or one.limit is not None]
    return [one for one in told if _wrong(one, None)]


def _judge(run: Run, reference: Reference, gate: str) -> list[Finding]:
    return [_judge_case(run, result, reference, gate) for result in run.cases if gate in result.outcomes]


def _judge_case(run: Run, result: CaseResult, reference: Reference, gate: str) -> Finding:
    outcome = result.outcomes[gate]
    if outcome.status is not Status.MEASURED:
        verdict = Verdict.SKIPPED if outcome.status is Status.SKIPPED else Verdict.FAILED
        return Finding(case=result.id, gate=gate, verdict=verdict, summary=outcome.reason or "the run ended before")
    stored = reference.checks.get(result.id)
    if stored is not None and stored.version != result.case.version:
        stored = None
    seen = _Sorted()
    known = partial(_known, run, result, reference)
    for one in result.observations:
        _sort(one, stored, known, seen)
    if stored is not None and run.options.implementation is None:  # another layer may have fewer parts
        _sort_gone(stored, result, known, seen)
    verdict, text = _verdict(result, seen, reference)
    numbers = [one.value / one.limit for one in result.observations if one.limit and not isinstance(one.value, str)]
    evidence: dict[str, float | int | str | None] = {
        "observations": len(result.observations),
        "pinned": len(seen.pinned),
    }
    if numbers:
        evidence["nearest_to_a_limit"] = min(max(numbers), sys.float_info.max)  # a limit may be as small as it likes
    return Finding(case=result.id, gate=gate, verdict=verdict, summary=text, evidence=evidence)


def _verdict(result: CaseResult, seen: _Sorted, reference: Reference) -> tuple[Verdict, str]:
    if seen.wrong:
        return Verdict.REGRESSED, f"{_told(seen.wrong)}; {_stands_for(result)}"
    if seen.gone:
        hint = "; if that is meant, `bnsuite accept` takes it out" if reference.advice else ""
        text = f"in {reference.name}, but not seen: {_told(seen.gone)}{hint}"
        return Verdict.MISSING, text
    if seen.unknown:
        text = f"only a baseline can tell {_told(seen.unknown)}: not in {reference.name}{reference.advice}"
        return Verdict.NO_BASELINE, text
    if seen.better:
        return Verdict.IMPROVED, f"{_told(seen.better)}; to be acknowledged with `bnsuite accept`"
    return Verdict.PASS, "as it must be" + (f", but for what is pinned: {_told(seen.pinned)}" if seen.pinned else "")


def _known(run: Run, result: CaseResult, reference: Reference, one: Observation) -> str | None:
    """Why a deviation is let pass, or None."""
    return next((pin.reason for pin in reference.pins if pin.covers(run, result.id, one)), None)


def _sort(
    one: Observation, stored: CheckLine | None, known: Callable[[Observation], str | None], into: _Sorted
) -> None:
    """Say what is to be said of an observation; `known` is asked of what is wrong alone, which is little of much."""
    accepted = stored.observed.get(one.what) if stored else None
    if one.expected is None and one.limit is None and accepted is None:
        into.unknown.append(one.what)
        return
    wrong = _wrong(one, accepted)
    if wrong and (reason := known(one)):
        into.pinned.append(f"{one.what}: {reason}")
    elif wrong:
        into.wrong.append(wrong)
    elif better := _better(one, accepted):
        into.better.append(better)


def _sort_gone(
    stored: CheckLine, result: CaseResult, known: Callable[[Observation], str | None], into: _Sorted
) -> None:
    """Say what was accepted of a case and is not among its observations."""
    there = {one.what for one in result.observations}
    for what in stored.observed:
        if what in there:
            continue
        if reason := known(Observation(what=what, value=NOT_SEEN)):
            into.pinned.append(f"{what}: {reason}")
        else:
            into.gone.append(what)


def _wrong(one: Observation, accepted: float | str | None) -> str | None:
    """What is wrong with an observation, or None."""
    if one.expected is not None:
        return None if one.value == one.expected else f"{one.what} is {one.value}, and must be {one.expected}"
    if one.limit is not None:
        return _over(one, accepted)
    if isinstance(accepted, str) or isinstance(one.value, str):
        return None if accepted == one.value else f"{one.what} is {one.value}, and was {accepted}"
    assert accepted is not None
    return f"{one.what} is {one.value:.4g}, and was {accepted:.4g}" if _change(one.value, accepted) > MARGIN else None


def _better(one: Observation, accepted: float | str | None) -> str | None:
    """What is better than the baseline, where only the baseline tells, or None."""
    alone = one.expected is None and one.limit is None
    if not alone or isinstance(one.value, str) or isinstance(accepted, str | None):
        return None
    return f"{one.what} is {one.value:.4g}, and was {accepted:.4g}" if _change(one.value, accepted) < -MARGIN else None


def _change(value: float, accepted: float) -> float:
    return (value - accepted) / abs(accepted) if accepted else float(value > 0) - float(value < 0)


def _over(one: Observation, accepted: float | str | None) -> str | None:
    """Why a number that has a limit is wrong, or None."""
    assert one.limit is not None
    if isinstance(one.value, str):
        return f"{one.what} is {one.value}, and must be a number up to {one.limit:g}"
    if one.value > one.limit:
        return f"{one.what} is {_number(one.value)}, where {one.limit:g} is the most"
    if isinstance(accepted, float | int) and one.value > max(DRIFT * accepted, DRIFT_FLOOR * one.limit):
        return f"{one.what} is {_number(one.value)}, {one.value / max(accepted, 1e-300):.0f} times what was accepted"
    return None


def _number(value: float) -> str:
    return "boundless" if value >= 1e30 else f"{value:.3g}"


def _told(parts: list[str]) -> str:
    more = len(parts) - TOLD
    return ", ".join(parts[:TOLD]) + (f" and {more} more" if more > 0 else "")


def _stands_for(result: CaseResult) -> str:
    """The rule that is broken, and the threads in which others met it."""
    threads = result.case.threads
    seen = f" (as in {', '.join(threads[:2])}{' and others' if len(threads) > 2 else ''})" if threads else ""
    return f"the rule: {result.case.rule or 'none given'}{seen}"
