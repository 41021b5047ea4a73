"""Two environments in a heading with their differences, and a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bnsuite.judge.verdict import Finding, worst
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.schema import EnvironmentInfo, Run
from bnsuite.report import builds, cells, kernels, tabular, text
from bnsuite.report.facts import FACTS
from bnsuite.report.replaced import replaced
from bnsuite.report.screen import Screen
from bnsuite.report.tabular import NOTHING

HEADERS = ("case", "A", "B", "B against A", "launches", "memory of B", "verdict")
ALIGN = ("left", "right", "right", "left", "right", "right", "left")
#: Columns that a narrow screen does without, the first one first.
OPTIONAL = ("memory of B", "launches", "A")
#: Differences that are listed; more are counted.
MAX_DIFFERENCES = 40


def rows(a: Run, b: Run, findings: list[Finding], screen: Screen) -> str:
    """Returns a row per case (of checks a row per family), on a narrow screen with fewer columns."""
    return tabular.terminal(_rows(a, b, findings), HEADERS, ALIGN, screen=screen, optional=OPTIONAL)


def markdown(a: Run, b: Run, findings: list[Finding]) -> str:
    """Returns the same as Markdown."""
    return tabular.markdown(_rows(a, b, findings), HEADERS, ALIGN)


def heading(a: Run, b: Run, times: InterleavedTimes) -> Iterator[str]:
    """Yields what was compared, by what name, and what differs, one fact per line."""
    options = b.options
    named = replaced(options)
    stands = f", with {text.clipped(named)}" if named else ""
    config = f" · options of {text.clipped(options.config)}" if options.config else ""
    yield f"bnsuite {b.bnsuite} · ab · {options.profile} · {b.device} · {text.clipped(b.environment.cpu)}{config}"
    yield f"A, trusted: {text.clipped(times.a)}"
    injected = "".join(f", with {name} = {amount:g} injected" for name, amount in times.injected.items())
    yield f"B, judged: {text.clipped(times.b)}{stands}{injected}"
    apart = [*differences(a.environment, b.environment), *kernels.changes(a, b)]
    for one in apart[:MAX_DIFFERENCES] or ["nothing that bnsuite knows of"]:
        yield f"differs: {text.clipped(one, text.MAX_CELL)}"
    if len(apart) > MAX_DIFFERENCES:
        yield f"differs: {len(apart) - MAX_DIFFERENCES} more"


def differences(a: EnvironmentInfo, b: EnvironmentInfo) -> Iterator[str]:
    """Yields what is not the same in two environments, such as "torch 2.13.0 → 2.14.1".

    Of their images the base alone: their names stand above.
    """
    worded = {"image", "packages", *builds.FIELDS}
    yield from _packages(a.packages, b.packages)
    yield from _apart(a.model_dump(exclude=worded), b.model_dump(exclude=worded))
    yield from builds.differences(a, b)
    if a.image is not None and b.image is not None:
        bases = [{"base image": one.base, "digest of the base image": one.base_digest} for one in (a.image, b.image)]
        yield from _apart(bases[0], bases[1])


def _packages(of_a: dict[str, str], of_b: dict[str, str]) -> Iterator[str]:
    """Yields the packages of other versions, then those that only one side has, in one line."""
    both = [name for name in of_a if name in of_b]
    yield from _apart({name: of_a[name] for name in both}, {name: of_b[name] for name in both})
    for side, its, other in (("A", of_a, of_b), ("B", of_b, of_a)):
        if alone := [f"{name} {version}" for name, version in its.items() if name not in other]:
            yield f"packages that only {side} has: {text.listed(alone)}"


def _apart(of_a: dict[str, Any], of_b: dict[str, Any], before: str = "") -> Iterator[str]:
    for name in [*of_a, *sorted(of_b.keys() - of_a.keys())]:
        old, new = of_a.get(name), of_b.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _apart(old, new, f"{before}{name}.")
        elif old != new:
            yield f"{FACTS.get(f'{before}{name}', name)} {_value(old)} → {_value(new)}"


def _value(value: object) -> str:
    return "none" if value is None else str(value)


def _rows(a: Run, b: Run, findings: list[Finding]) -> list[list[str]]:
    of_a, of_b = ({result.id: result for result in run.cases} for run in (a, b))
    return [
        [
            name,
            cells.time(of_a.get(name))[0],
            cells.time(of_b.get(name))[0],
            cells.against_environment(some),
            _launches(some),
            cells.memory(of_b.get(name)),
            worst(some).value,
        ]
        for name, some in cells.rows(b, findings).items()
    ]


def _launches(findings: list[Finding]) -> str:
    timing = next((one for one in findings if one.gate == "timing"), None)
    screening = timing.evidence.get("launches") if timing else None
    confirming = timing.evidence.get("launches_to_confirm") if timing else None
    return NOTHING if screening is None else f"{screening}" + (f" + {confirming}" if confirming else "")
