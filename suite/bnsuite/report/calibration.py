"""A calibration in words: the bounds that changed, the controls, what is to be looked at, and what to do next."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import expm1
from pathlib import Path

from bnsuite.judge.calibration import MAX_FACTOR, MIN_LAUNCHES, BoundChange, Calibrated, ChangeKind
from bnsuite.record.calibration import RATIO, Calibration, Deviation
from bnsuite.report import tabular, text, units
from bnsuite.report.screen import Screen
from bnsuite.report.tabular import NOTHING

#: Cases with deviations, and failed ones, that are named; more are counted. The file has them all.
MAX_NAMED = 12
BOUNDS = ("case", "observation", "measured", "limit", "shipped", "launches", "calibration")
CONTROLS = ("control", "bytes", "median", "from launch to launch", "launches")


def render(made: Calibrated, runs: Sequence[Path], baselines: Path, screen: Screen) -> str:
    """Returns what a calibration by `runs` changed in `baselines`, and what is to be done next."""
    calibration = made.calibration
    blocks = [
        list(screen.wrap(_heading(calibration))),
        list(_bounds(made, screen)),
        list(_controls(calibration, screen)),
        list(_deviations(calibration.deviations, screen)),
        list(_failures(calibration, screen)),
        list(_next(made, runs, baselines, screen)),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _heading(calibration: Calibration) -> str:
    kinds = (
        f"{units.count(len(calibration.ratios), 'ratio')}, {units.count(len(calibration.limits), 'limit')} of checks"
    )
    return text.one_line(f"calibration of {calibration.model} ({calibration.device}): {kinds}")


def _bounds(made: Calibrated, screen: Screen) -> Iterator[str]:
    shown = [one for one in made.changes if _is_news(one)]
    if shown:
        yield tabular.terminal([_row(one) for one in shown], BOUNDS, screen=screen, optional=("shipped", "launches"))
    counts = Counter(one.kind for one in made.changes if one not in shown)
    if counts[ChangeKind.NEW]:
        yield from screen.wrap(
            f"{units.count(counts[ChangeKind.NEW], 'limit')} of checks found on CPUs: this device is below "
            f"{'it' if counts[ChangeKind.NEW] == 1 else 'them'}"
        )
    if counts[ChangeKind.SAME]:
        yield from screen.wrap(
            f"{units.count(counts[ChangeKind.SAME], 'bound')} agree with what is stored, and stay as they are"
        )


def _is_news(one: BoundChange) -> bool:
    """Returns True for a change that a person should see: of a ratio, or of a limit that CPUs would not need."""
    if one.kind is ChangeKind.SAME:
        return False
    beyond = one.value is not None and one.shipped is not None and one.value > one.shipped
    return one.what == RATIO or one.kind is not ChangeKind.NEW or beyond


def _row(one: BoundChange) -> tuple[str, ...]:
    return (
        one.case,
        one.what,
        _number(one.value),
        _number(one.bound if one.kind is not ChangeKind.KEPT else one.before),
        _number(one.shipped),
        str(one.launches),
        _change(one),
    )


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4g}"


def _change(one: BoundChange) -> str:
    if one.kind is ChangeKind.LEFT_OUT:
        disturbed = f", {one.disturbed} are not" if one.disturbed else ""
        counted = units.count(one.launches, "undisturbed launch", "undisturbed launches")
        return f"left out: {counted}{disturbed}, {MIN_LAUNCHES} are needed"
    if one.kind is ChangeKind.KEPT:
        return f"kept: {_number(one.bound)} would be looser; --replace takes it"
    if one.before is not None:
        return f"{one.kind.value}: was {_number(one.before)}"
    if one.what != RATIO and one.value is not None and one.shipped and one.value > MAX_FACTOR * one.shipped:
        return f"the limit stays: more than {MAX_FACTOR:g} times above it"
    return str(one.kind.value)


def _controls(calibration: Calibration, screen: Screen) -> Iterator[str]:
    rows = [
        (
            one.name,
            NOTHING if one.nbytes is None else units.nbytes(one.nbytes),
            units.seconds(one.median_s),
            units.spread(expm1(one.spread)),
            str(one.launches),
        )
        for one in calibration.controls
    ]
    if rows:
        yield tabular.terminal(rows, CONTROLS, screen=screen)


def _deviations(deviations: Sequence[Deviation], screen: Screen) -> Iterator[str]:
    """Yields the deviations, a case each with the first of its observations."""
    by_case: dict[str, list[Deviation]] = {}
    for one in deviations:
        by_case.setdefault(one.case, []).append(one)
    if not by_case:
        return
    cases = units.count(len(by_case), "check")
    yield from screen.wrap(f"{cases} with deviations that calibration does not change; examine them:")
    for name, found in list(by_case.items())[:MAX_NAMED]:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        yield from screen.wrap(text.one_line(f"{name}: {_deviation(found[0])}{more}"), 2, 4)
    if len(by_case) > MAX_NAMED:
        yield f"  and {len(by_case) - MAX_NAMED} more; the file has them all"


def _deviation(one: Deviation) -> str:
    value = text.clipped(one.value) if isinstance(one.value, str) else f"{one.value:.4g}"
    name = text.clipped(one.what)
    if one.expected is not None:
        return f"{name} is {value}, and must be {text.clipped(one.expected)}"
    return f"{name} is {value}" if one.limit is None else f"{name} is {value}, the limit is {one.limit:g}"


def _failures(calibration: Calibration, screen: Screen) -> Iterator[str]:
    failures = calibration.failures
    if not failures:
        return
    yield from screen.wrap(f"{units.count(len(failures), 'case')} failed, which can't be pinned:")
    for one in failures[:MAX_NAMED]:
        yield from screen.wrap(text.one_line(f"{one.case} ({one.gate}): {text.clipped(one.reason)}"), 2, 4)
    if len(failures) > MAX_NAMED:
        yield f"  and {len(failures) - MAX_NAMED} more; the file has them all"


def _next(made: Calibrated, runs: Sequence[Path], baselines: Path, screen: Screen) -> Iterator[str]:
    """Yields the steps that are left, each with its command."""
    named = [str(one) for one in runs]
    where = ["--baselines", str(baselines)]
    deviations = made.calibration.deviations
    yield "next:"
    if made.left_out:
        yield from screen.wrap(
            f"measure again what was left out ({units.count(len(made.left_out), 'ratio')}), and calibrate by both runs",
            2,
            4,
        )
    if deviations:
        yield from screen.wrap("pin known defects of torch or of its kernels, with the reason:", 2, 4)
        pin = ["bnsuite", "calibrate", *named, "--pin", deviations[0].case, "--reason", "why it is so", *where]
        yield from screen.command(text.one_line(shlex.join(pin)), 4)
    yield from screen.wrap("accept the times, the memory and what only a baseline can judge of checks:", 2, 4)
    yield from screen.command(text.one_line(shlex.join(["bnsuite", "accept", *named, *where])), 4)
    yield from screen.wrap("judge the run again:", 2, 4)
    yield from screen.command(text.one_line(shlex.join(["bnsuite", "check", *named[:1], *where])), 4)


def pinned(pins: Iterable[Deviation], screen: Screen) -> str:
    """Returns the deviations that became pins, a line each."""
    return "\n".join(
        line for one in pins for line in screen.wrap(text.one_line(f"pinned {one.case}: {_deviation(one)}"), 0, 2)
    )
