"""The observations of a check: deviations first, then what came nearest to its limit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bnsuite.judge.checks import deviating
from bnsuite.judge.verdict import Finding
from bnsuite.record.lines import CHECKS
from bnsuite.record.pins import Pin
from bnsuite.record.reference import Reference
from bnsuite.record.schema import CaseResult, Observation, Run
from bnsuite.report import text

#: Above this a number stands for one that is not finite (see ``cases/checks/case.py``).
NOT_FINITE = 1e30
#: Deviations shown of one check.
MAX_DEVIATIONS = 60


@dataclass(frozen=True)
class ObservationRow:
    """One observation; `note` says what is wrong with it, or why it may be."""

    what: str
    value: str
    bound: str
    before: str
    note: str
    deviates: bool


@dataclass(frozen=True)
class Observations:
    """What is shown of a check's observations, and how many more there are."""

    rows: tuple[ObservationRow, ...]
    more: int

    @property
    def notes(self) -> bool:
        """Any of them has a note."""
        return any(one.note for one in self.rows)


@dataclass(frozen=True)
class Beside:
    """What observations are shown beside: values of the reference by name, known deviations, and the verdict's reason.

    `named` are the observations that the reason names: some deviate from what was accepted alone.
    """

    values: Mapping[str, float | str]
    pins: tuple[Pin, ...] = ()
    named: frozenset[str] = frozenset()


def observations(run: Run, result: CaseResult, beside: Beside, most: int) -> Observations | None:
    """Returns the observations of a check: what deviates, and `most` others; None where there are none."""
    if not result.observations:
        return None
    names = {one.what for one in deviating(result)} | beside.named
    wrong = [one for one in result.observations if one.what in names]
    deviations, before, pins = wrong[:MAX_DEVIATIONS], beside.values, beside.pins
    rest = sorted((one for one in result.observations if one.what not in names), key=_room)
    rows = [_row(one, before, _pinned(run, result, one, pins) or "deviates", deviates=True) for one in deviations]
    rows += [_row(one, before, "", deviates=False) for one in rest[:most]]
    return Observations(tuple(rows), len(result.observations) - len(rows))


def named(findings: Iterable[Finding]) -> frozenset[str]:
    """Returns the observations that the reasons of findings name as deviating."""
    found: set[str] = set()
    for finding in findings:
        data: Any = finding.reason.data
        inner = data.get("reason")
        for one in (data, inner.get("data") if isinstance(inner, dict) else None):
            listed = one.get("deviations") if isinstance(one, dict) else None
            for deviation in listed if isinstance(listed, list) else []:
                what = deviation.get("what") if isinstance(deviation, dict) else None
                found |= {what} if isinstance(what, str) else set()
    return frozenset(found)


def accepted(reference: Reference | None, result: CaseResult) -> Mapping[str, float | str]:
    """Returns the accepted values of a check by name."""
    line = CHECKS.lines_of(reference.lines).get(result.id) if reference is not None else None
    return line.observed if line is not None and line.version == result.case.version else {}


def of_side(result: CaseResult | None) -> Mapping[str, float | str]:
    """Returns the values that the other environment observed, by name."""
    return {one.what: one.value for one in result.observations} if result is not None else {}


def _room(one: Observation) -> float:
    """Returns how far a number is from its limit, the nearest first; words come last."""
    if isinstance(one.value, str) or not one.limit:
        return 0.0
    return -one.value / one.limit


def _pinned(run: Run, result: CaseResult, one: Observation, pins: Iterable[Pin]) -> str | None:
    pin = next((pin for pin in pins if pin.covers(run, result.id, one)), None)
    return None if pin is None else f"pinned: {text.clipped(pin.reason, text.MAX_SENTENCE)}"


def _row(one: Observation, before: Mapping[str, float | str], note: str, *, deviates: bool) -> ObservationRow:
    bound = "the accepted value"
    if one.expected is not None:
        bound = f"= {text.clipped(one.expected)}"
    elif one.limit is not None:
        bound = f"≤ {one.limit:g}"
    return ObservationRow(
        what=text.clipped(one.what),
        value=_value(one.value),
        bound=bound,
        before=_value(before[one.what]) if one.what in before else "–",
        note=note,
        deviates=deviates,
    )


def _value(value: float | str) -> str:
    if isinstance(value, str):
        return text.clipped(value)
    return "not finite" if value >= NOT_FINITE else f"{value:.4g}"
