"""What a run is held against: accepted baselines, or another run, in one form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Annotated

from pydantic import Field

from bnsuite.record.key import MachineKey, differences, machine_key
from bnsuite.record.lines import CHECKS, MEMORY, CheckLine, MemoryLine, kind_of_device
from bnsuite.record.pins import Pin
from bnsuite.record.schema import CaseResult, Curve, Run, Seconds, Status, Timing, Value


class LaunchValue(Value):
    """One launch of one case, condensed: the medians of its samples and of its controls."""

    median_s: Seconds
    controls_s: dict[str, Seconds] = Field(min_length=1)


def condense(timing: Timing) -> LaunchValue:
    """The launch value of a timing."""
    return LaunchValue(
        median_s=median(timing.samples_s),
        controls_s={name: median(samples) for name, samples in timing.controls_s.items()},
    )


class TimingReference(Value):
    """A case's accepted launches, run by run: between runs a machine drifts more than between launches."""

    id: str
    version: int
    profiles: tuple[str, ...]
    #: The release of torch that it was measured with, if that is known, and if it was torch's own layer.
    torch: str | None
    runs: tuple[Annotated[tuple[LaunchValue, ...], Field(min_length=1)], ...] = Field(min_length=1)


class CurveReference(Value):
    """A training's accepted curves, a seed each."""

    id: str
    version: int
    profiles: tuple[str, ...]
    #: "cpu" or "cuda": where they were made.
    device: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Reference:
    """Everything that is known of what a run should be, by case id."""

    #: How the reference is called in a sentence, such as "baselines/".
    name: str
    timing: dict[str, TimingReference] = field(default_factory=dict)
    convergence: dict[str, CurveReference] = field(default_factory=dict)
    memory: dict[str, MemoryLine] = field(default_factory=dict)
    checks: dict[str, CheckLine] = field(default_factory=dict)
    #: Known deviations.
    pins: tuple[Pin, ...] = ()
    #: How what is new gets into it, in the words that end a reason; nothing where it can't.
    advice: str = "; `bnsuite accept` puts it there"
    #: Why there is no timing to compare with, if there is none.
    no_timing: str | None = None

    def environment(self, cases: Iterable[str]) -> str | None:
        """What the times of `cases` were measured in, as a user writes it ("torch==2.14.1"); None if not all in one."""
        found = {self.timing[name].torch for name in cases if name in self.timing}
        (one,) = found if len(found) == 1 else (None,)
        return None if one is None else f"torch=={one}"


def has_timing(result: CaseResult) -> bool:
    """Whether a case has times to hold others against: of one that crashed they are none.

    A relation has its bound, and needs none.
    """
    outcome = result.outcomes.get("timing")
    measured = outcome is not None and outcome.status is Status.MEASURED
    return measured and bool(result.undisturbed) and not result.case.bounds


def from_run(run: Run, name: str, key: MachineKey, pins: tuple[Pin, ...] = ()) -> Reference:
    """Another run as the reference for one measured on the machine `key`; known deviations stay known."""
    apart = differences(machine_key(run), key)
    return Reference(
        name=name,
        timing={} if apart else {one.id: timing_reference(one, [run]) for one in run.cases if has_timing(one)},
        convergence={one.id: curve_reference(one, run) for one in run.cases if one.curves},
        memory={} if apart else MEMORY.of_run(run),
        checks=CHECKS.of_run(run) if kind_of_device(run) == key.device else {},
        pins=pins,
        no_timing=f"{name} was measured on another machine: {'; '.join(apart)}" if apart else None,
        advice="",
    )


def trusted(run: Run, name: str, pins: tuple[Pin, ...]) -> Reference:
    """The run of a trusted environment as the reference for one measured beside it; times are compared block by block.

    `pins` are the deviations that are let pass.
    """
    return Reference(
        name=name,
        convergence={one.id: curve_reference(one, run) for one in run.cases if one.curves},
        memory=MEMORY.of_run(run),
        checks=CHECKS.of_run(run),
        pins=pins,
        advice="",
    )


def timing_reference(result: CaseResult, runs: list[Run]) -> TimingReference:
    """What `runs` say of a case's time, those of them that measured it in the same version."""
    measured = [run for run in runs if run.options.implementation is None]
    same = [
        one
        for run in runs
        for one in run.cases
        if (one.id, one.case.version) == (result.id, result.case.version) and has_timing(one)
    ]
    return TimingReference(
        id=result.id,
        version=result.case.version,
        profiles=result.case.profiles,
        torch=measured[-1].environment.packages.get("torch") if measured else None,
        runs=tuple(tuple(condense(timing) for timing in one.undisturbed) for one in same),
    )


def curve_reference(result: CaseResult, run: Run) -> CurveReference:
    """What a result of `run` says of a case's learning."""
    return CurveReference(
        id=result.id,
        version=result.case.version,
        profiles=result.case.profiles,
        device=kind_of_device(run),
        curves=result.curves,
    )
