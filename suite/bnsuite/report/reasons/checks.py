"""Words for what checks observed."""

from __future__ import annotations

from collections.abc import Callable

from bnsuite.judge.reason import ReasonCode
from bnsuite.report import text
from bnsuite.report.reasons.shared import Data, not_calibrated, rule
from bnsuite.report.text import clipped, listed

#: Above this a number stands for one that is not finite (see ``cases/checks/case.py``).
NOT_FINITE = 1e30


def _value(value: float | str) -> str:
    if isinstance(value, str):
        return clipped(value)
    return "not finite" if value >= NOT_FINITE else f"{value:.4g}"


def _deviation(data: Data) -> str:
    name, value = clipped(data["what"]), _value(data["value"])
    if "expected" in data:
        return f"{name} is {value}, and must be {clipped(data['expected'])}"
    if "limit" in data:
        return f"{name} is {value}, the limit is {data['limit']:g}"
    if "times" in data:
        return f"{name} is {value}, {data['times']:.0f} times the accepted {_value(data['accepted'])}"
    return f"{name} is {value}, and was {_value(data['accepted'])}"


def _deviations(data: Data) -> str:
    return listed([_deviation(one) for one in data["deviations"]], more=data["more"], letters=text.MAX_SENTENCE)


def _beyond_cpus(data: Data) -> str:
    return f"{clipped(data['what'])} is {_value(data['value'])}, and up to {data['limit']:g} on CPUs"


def _gone(data: Data) -> str:
    fix = "; if that is meant, `bnsuite accept` takes it out" if data["acceptable"] else ""
    return f"in {data['reference']}, but not observed: {listed(data['names'], more=data['more'])}{fix}"


def _as_expected(data: Data) -> str:
    pinned = [f"{one['what']}: {one.get('reason') or one['shared_with'] + ' has it too'}" for one in data["pinned"]]
    known = listed(pinned, more=data["more"], letters=text.MAX_SENTENCE)
    return f"as expected, except for known deviations: {known}" if pinned else "as expected"


WORDS: dict[ReasonCode, Callable[[Data], str]] = {
    ReasonCode.DEVIATIONS: lambda data: f"{_deviations(data)}; {rule(data)}",
    ReasonCode.BETTER_THAN_ACCEPTED: lambda data: f"{_deviations(data)}; to be acknowledged with `bnsuite accept`",
    ReasonCode.OBSERVATIONS_GONE: _gone,
    ReasonCode.LIMITS_NOT_CALIBRATED: lambda data: (
        f"{listed([_beyond_cpus(one) for one in data['deviations']], more=data['more'], letters=text.MAX_SENTENCE)}; "
        f"{not_calibrated(data)}"
    ),
    ReasonCode.AS_EXPECTED: _as_expected,
}
