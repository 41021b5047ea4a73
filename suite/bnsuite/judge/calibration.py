"""A calibration made of runs: the bounds that follow from what was measured, and what is to be looked at.

A bound is taken from undisturbed launches of finished runs. Once it is there it stays, unless the new one is tighter or
the new one is asked for: no bound gives way by being calibrated again and again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from math import exp, log
from statistics import fmean, median, stdev

from bnsuite.judge import ratios, timing
from bnsuite.judge.checks import DRIFT, NOT_FINITE, is_from_cpu
from bnsuite.judge.deviations import deviations, failures, rounded_up
from bnsuite.record.calibration import (
    RATIO,
    CalibratedLimit,
    CalibratedRatio,
    Calibration,
    CalibrationRun,
    ControlFigure,
    model_of,
    source,
)
from bnsuite.record.lines import kind_of_device, torch_of
from bnsuite.record.pins import Pin
from bnsuite.record.schema import CaseResult, Run, Status, Timing

#: Undisturbed launches that a bound needs. A full run on a GPU has two of most ratios; their spread is moderated by
#: what is usual, as where a ratio is judged.
MIN_LAUNCHES = 2
#: A number this many times above the limit of CPUs becomes no limit: it is a deviation, to be looked at.
MAX_FACTOR = 10.0


class ChangeKind(str, Enum):
    """The kinds of changes by calibrating."""

    NEW = "new"
    TIGHTER = "tighter"
    #: The stored bound stays: it is the tighter one.
    KEPT = "kept"
    #: The stored bound gave way to a looser one, as it was asked for.
    LOOSER = "looser"
    #: It agrees with the stored one, which stays.
    SAME = "same"
    #: There is nothing to make a bound of.
    LEFT_OUT = "left-out"


@dataclass(frozen=True)
class BoundChange:
    """The change of one bound or limit."""

    case: str
    #: The observation, or "ratio".
    what: str
    kind: ChangeKind
    #: What was measured, its bound, and the bound of before.
    value: float | None = None
    bound: float | None = None
    before: float | None = None
    #: The bound that is shipped.
    shipped: float | None = None
    launches: int = 0
    disturbed: int = 0


@dataclass(frozen=True)
class Calibrated:
    """A calibration, and what changed by it."""

    calibration: Calibration
    changes: tuple[BoundChange, ...]

    @property
    def measured(self) -> bool:
        """There was something to calibrate by."""
        return any(one.kind is not ChangeKind.LEFT_OUT for one in self.changes) or bool(self.calibration.controls)

    @property
    def no_ratio(self) -> bool:
        """There were ratios, and not one of them could be calibrated."""
        kinds = {one.kind for one in self.changes if one.what == RATIO}
        return kinds == {ChangeKind.LEFT_OUT}

    @property
    def left_out(self) -> tuple[BoundChange, ...]:
        """Bounds that nothing could be made of."""
        return tuple(one for one in self.changes if one.kind is ChangeKind.LEFT_OUT)


def calibrate(
    runs: Sequence[Run], stored: Calibration | None, pins: Collection[Pin], *, replace: bool = False
) -> Calibrated:
    """Returns the calibration of `runs`, which are finished and of one machine, with what `stored` has beside it.

    With `replace` a looser bound takes the place of the stored one as well. Deviations that `pins` cover are known,
    and none of the list.
    """
    changes: list[BoundChange] = []
    ratios_ = {one.id: one for one in stored.ratios} if stored else {}
    for name, results in _by_case(runs).items():
        if results[-1][1].case.kind == "ratio" and RATIO in results[-1][1].case.to_calibrate:
            _put(ratios_, name, _ratio(results, ratios_.get(name), changes, replace=replace))
    limits = {(one.case, one.what): one for one in stored.limits} if stored else {}
    for key, limit in _new_limits(runs).items():
        limits[key] = _limit(limits.get(key), limit, changes, replace=replace)
    found = _controls(runs)
    controls = {(one.name, one.nbytes): one for one in (*(stored.controls if stored else ()), *found)}
    measured = {result.id for run in runs for result in run.cases if _was_reached(result)}
    made = Calibration(
        schema=Calibration.SCHEMA,
        device=kind_of_device(runs[-1]),
        model=model_of(runs[-1]),
        runs=(),
        ratios=tuple(ratios_.values()),
        limits=tuple(limits.values()),
        controls=tuple(controls.values()),
        deviations=(
            *(one for one in (stored.deviations if stored else ()) if one.case not in measured),
            *deviations(runs, pins, {(one.case, one.what): one for one in limits.values()}),
        ),
        failures=(
            *(one for one in (stored.failures if stored else ()) if one.case not in measured),
            *failures(runs),
        ),
    )
    made = made.model_copy(update={"runs": _sources(made, runs, stored)})
    return Calibrated(made, tuple(changes))


def _put(into: dict[str, CalibratedRatio], name: str, one: CalibratedRatio | None) -> None:
    if one is not None:
        into[name] = one


Measured = list[tuple[Run, CaseResult]]


def _by_case(runs: Iterable[Run]) -> dict[str, Measured]:
    """Returns the results of each case, of its newest version alone."""
    found: dict[str, Measured] = {}
    for run in runs:
        for result in run.cases:
            found.setdefault(result.id, []).append((run, result))
    newest = {name: max(one.case.version for _, one in results) for name, results in found.items()}
    return {
        name: [(run, one) for run, one in results if one.case.version == newest[name]]
        for name, results in found.items()
    }


def _was_reached(result: CaseResult) -> bool:
    return any(outcome.status in {Status.MEASURED, Status.FAILED} for outcome in result.outcomes.values())


def _counting(result: CaseResult) -> tuple[Timing, ...]:
    """Returns the launches of a ratio that count; none if it did not come to its end."""
    outcome = result.outcomes.get(timing.GATE)
    return result.undisturbed if outcome is not None and outcome.status is Status.MEASURED else ()


def _ratio(
    results: Measured, stored: CalibratedRatio | None, changes: list[BoundChange], *, replace: bool
) -> CalibratedRatio | None:
    """Returns the ratio of a case, the stored one where that stays, or None where there is neither."""
    run, result = results[-1]
    used = [(run, launch) for run, one in results for launch in _counting(one)]
    if any(launch.held for _, launch in used):  # the GPU's own times and elapsed ones are two numbers
        used = [(one, launch) for one, launch in used if launch.held]
    all_launches = sum(len(one.timings) for _, one in results)
    shipped = ratios.assumed(run, result)
    if len(used) < MIN_LAUNCHES:
        if any(outcome.status is not Status.SKIPPED for outcome in result.outcomes.values()):
            left_out = BoundChange(
                result.id,
                RATIO,
                ChangeKind.LEFT_OUT,
                launches=len(used),
                disturbed=all_launches - len(used),
                shipped=shipped,
            )
            changes.append(left_out)
        return stored
    values = [ratios.value(launch) for _, launch in used]
    spread = stdev(values)
    margin = max(log(1 + timing.FLOOR), timing.DEVIATIONS * ratios.usual_spread(values))
    new = CalibratedRatio(
        id=result.id,
        version=result.case.version,
        ratio=exp(fmean(values)),
        spread=spread,
        launches=len(values),
        bound=rounded_up(exp(fmean(values) + margin), digits=4),
        assumed=shipped,
        torch=torch_of(run),
        held=used[0][1].held,
        runs=tuple(dict.fromkeys(one.started for one, _ in used)),
    )
    before = stored if stored is not None and stored.version == new.version else None
    agrees = before is not None and abs(log(new.ratio / before.ratio)) <= margin
    kind = _kind(None if before is None else before.bound, new.bound, agrees=agrees, replace=replace)
    changes.append(
        BoundChange(
            result.id,
            RATIO,
            kind,
            value=new.ratio,
            bound=new.bound,
            before=None if before is None else before.bound,
            shipped=shipped,
            launches=len(values),
            disturbed=all_launches - len(used),
        )
    )
    return stored if kind in {ChangeKind.SAME, ChangeKind.KEPT} else new


def _kind(before: float | None, bound: float, *, agrees: bool, replace: bool) -> ChangeKind:
    """Returns what becomes of a bound: a stored one that agrees or is tighter stays, unless it is replaced."""
    if before is None:
        return ChangeKind.NEW
    if bound == before or (agrees and not replace):
        return ChangeKind.SAME
    if bound < before:
        return ChangeKind.TIGHTER
    return ChangeKind.LOOSER if replace else ChangeKind.KEPT


def _limits(run: Run, result: CaseResult) -> list[CalibratedLimit]:
    """Returns the limits of a check that follow from one run.

    A number below the limit of CPUs leaves that as it is. One above it may be DRIFT times as large from now on; one far
    above it makes no limit.
    """
    made = []
    for one in result.observations:
        if one.limit is None or isinstance(one.value, str) or not is_from_cpu(one, result.case.to_calibrate):
            continue
        between = one.limit < one.value <= MAX_FACTOR * one.limit and one.value < NOT_FINITE
        made.append(
            CalibratedLimit(
                case=result.id,
                version=result.case.version,
                what=one.what,
                value=one.value,
                limit=rounded_up(DRIFT * one.value) if between else one.limit,
                from_cpu=one.limit,
                torch=torch_of(run),
                runs=(run.started,),
            )
        )
    return made


def _new_limits(runs: Iterable[Run]) -> dict[tuple[str, str], CalibratedLimit]:
    """Returns the limits that follow from runs: of an observation of several the larger one."""
    found: dict[tuple[str, str], CalibratedLimit] = {}
    for results in _by_case(runs).values():
        for run, result in results:
            for new in _limits(run, result):
                other = found.get((new.case, new.what), new)
                larger = max(other, new, key=lambda one: one.limit)
                together = {"value": max(other.value, new.value), "runs": tuple(dict.fromkeys(other.runs + new.runs))}
                found[new.case, new.what] = larger.model_copy(update=together)
    return found


def _limit(
    stored: CalibratedLimit | None, new: CalibratedLimit, changes: list[BoundChange], *, replace: bool
) -> CalibratedLimit:
    """Returns the limit of an observation: the new one, or the stored one where that stays."""
    before = stored if stored is not None and stored.version == new.version else None
    agrees = before is not None and new.value <= before.limit <= DRIFT * new.limit
    kind = _kind(None if before is None else before.limit, new.limit, agrees=agrees, replace=replace)
    changes.append(
        BoundChange(
            new.case,
            new.what,
            kind,
            value=new.value,
            bound=new.limit,
            before=None if before is None else before.limit,
            shipped=new.from_cpu,
            launches=1,
        )
    )
    return before if before is not None and kind in {ChangeKind.SAME, ChangeKind.KEPT} else new


def _controls(runs: Sequence[Run]) -> list[ControlFigure]:
    """Returns a figure per control, and of the copy one per size: all that stands beside undisturbed launches."""
    found: dict[tuple[str, int | None], list[tuple[str, float]]] = {}
    for run in runs:
        for result in run.cases:
            if result.case.kind == "ratio":  # the control of a ratio is its other side
                continue
            for launch in result.undisturbed:
                for name, samples in launch.controls_s.items():
                    size = result.case.nbytes if name == timing.COPY else None
                    found.setdefault((name, size), []).append((run.started, median(samples)))
    return [
        ControlFigure(
            name=name,
            nbytes=size,
            median_s=median(value for _, value in values),
            spread=stdev(log(value) for _, value in values),
            launches=len(values),
            runs=tuple(dict.fromkeys(started for started, _ in values)),
        )
        for (name, size), values in sorted(found.items(), key=lambda one: (one[0][0], one[0][1] or 0))
        if len(values) >= MIN_LAUNCHES
    ]


def _sources(made: Calibration, runs: Iterable[Run], stored: Calibration | None) -> tuple[CalibrationRun, ...]:
    """Returns the runs that any part of a calibration names, in the order of their beginnings."""
    known = {one.started: one for one in (stored.runs if stored else ())} | {one.started: source(one) for one in runs}
    named = [one.runs for one in made.ratios] + [one.runs for one in made.limits] + [one.runs for one in made.controls]
    used = {name for runs_ in named for name in runs_}
    used |= {one.run for one in made.deviations} | {one.run for one in made.failures}
    return tuple(known[name] for name in sorted(used) if name in known)
