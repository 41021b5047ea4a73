"""The reference that a run is compared with: accepted baselines, or another run, in one form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from statistics import median
from typing import Annotated, Any

from pydantic import Field, JsonValue, SerializerFunctionWrapHandler, model_serializer

from bnsuite.record.calibration import Calibration
from bnsuite.record.key import MachineKey, differences, machine_key
from bnsuite.record.lines import LINES, Line, kind_of_device
from bnsuite.record.pins import Pin
from bnsuite.record.quantities import Number, Seconds
from bnsuite.record.schema import CaseResult, Curve, Run, Status, Timing, Value


class LaunchValue(Value):
    """One launch of one case, condensed: the medians of its samples and of its controls."""

    median_s: Seconds
    controls_s: dict[str, Seconds] = Field(min_length=1)
    #: The median SM clock of the GPU under load, where it is known.
    sm_clock_mhz: Number | None = None
    #: The cores that the process kept busy, where that is known.
    cores_busy: Number | None = None

    @model_serializer(mode="wrap")
    def _without_unknown(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain: dict[str, Any] = serialize(self)
        return {name: one for name, one in plain.items() if one is not None}


def condense(timing: Timing) -> LaunchValue:
    """Returns the launch value of a timing."""
    return LaunchValue(
        median_s=median(timing.samples_s),
        controls_s={name: median(samples) for name, samples in timing.controls_s.items()},
        sm_clock_mhz=timing.gpu.sm_clock_mhz_median if timing.gpu is not None else None,
        cores_busy=timing.cores_busy,
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
    #: Such as "cpu" or "cuda": the kind of device that they were made on.
    device: str
    #: The name of its file.
    workload: str
    curves: tuple[Curve, ...]


class Cause(Enum):
    """The cause of a reference having nothing of a case, or of all cases of a gate."""

    NO_FOLDER = "no-folder"
    NO_TIMING = "no-timing"
    NO_TIMING_OF_MACHINE = "no-timing-of-machine"
    OTHER_MACHINE = "other-machine"
    OTHER_DEVICE = "other-device"
    DISTURBED = "disturbed"
    SKIPPED = "skipped"
    FAILED = "failed"
    PENDING = "pending"


@dataclass(frozen=True)
class Absence:
    """The absence of a case from a reference; `details` such as "threads 1, not 2"."""

    cause: Cause
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reference:
    """Everything that is known of how a run should be, by case id."""

    #: The name of the reference in a sentence, such as "baselines/".
    name: str
    timing: Mapping[str, TimingReference] = field(default_factory=dict)
    convergence: Mapping[str, CurveReference] = field(default_factory=dict)
    #: References that are one line per case, by the name of their kind (see ``record/lines.py``).
    lines: Mapping[str, Mapping[str, Line]] = field(default_factory=dict)
    #: Known deviations.
    pins: tuple[Pin, ...] = ()
    #: `bnsuite accept` can add what it lacks.
    acceptable: bool = True
    #: Why it has nothing at all for a gate.
    absent: Mapping[str, Absence] = field(default_factory=dict)
    #: The environment that it was measured in, as far as that is recorded, by the names of ``EnvironmentInfo``.
    recorded: Mapping[str, JsonValue] = field(default_factory=dict)
    #: Why it has nothing of a case for a gate, by gate and case, where it has the case.
    absent_cases: Mapping[tuple[str, str], Absence] = field(default_factory=dict)
    #: Times of the machine that is most like this one, by case id, where it has none of this one. They judge nothing.
    nearest: Mapping[str, TimingReference] = field(default_factory=dict)
    #: What was measured of this model of GPU; None for a CPU, and for a GPU that was not calibrated.
    calibration: Calibration | None = None

    def absence(self, gate: str, case: str) -> Absence | None:
        """Returns the cause of having nothing of `case` for `gate`; None if it is simply not in it."""
        return self.absent.get(gate) or self.absent_cases.get((gate, case))

    def environment(self, cases: Iterable[str]) -> str | None:
        """Returns the environment of the times of `cases` ("torch==2.14.1"); None if there is not exactly one."""
        found = {self.timing[name].torch for name in cases if name in self.timing}
        (one,) = found if len(found) == 1 else (None,)
        return None if one is None else f"torch=={one}"


def has_timing(result: CaseResult) -> bool:
    """Returns if a case has times to compare with: those of a crashed one are none, and a ratio needs none."""
    outcome = result.outcomes.get("timing")
    measured = outcome is not None and outcome.status is Status.MEASURED
    return measured and bool(result.undisturbed) and result.case.kind != "ratio"


def from_run(
    run: Run, name: str, key: MachineKey, pins: tuple[Pin, ...] = (), calibration: Calibration | None = None
) -> Reference:
    """Returns another run as the reference for one measured on the machine `key`; known deviations stay known.

    So does the `calibration` of the judged GPU.
    """
    apart = tuple(differences(machine_key(run), key))
    device = kind_of_device(run)
    fitting = {kind: device == key.device if kind.portable else not apart for kind in LINES.values()}
    machine = Absence(Cause.OTHER_MACHINE, apart)
    other_device = Absence(Cause.OTHER_DEVICE, (f"{device}, not {key.device}",))
    return Reference(
        name=name,
        timing={} if apart else {one.id: timing_reference(one, [run]) for one in run.cases if has_timing(one)},
        convergence={one.id: curve_reference(one, run) for one in run.cases if one.curves},
        lines={kind.name: kind.of_run(run) for kind, fits in fitting.items() if fits},
        pins=pins,
        calibration=calibration,
        acceptable=False,
        recorded=run.environment.model_dump(mode="json"),
        absent={
            **({"timing": machine} if apart else {}),
            **{
                gate: other_device if kind.portable else machine
                for kind, fits in fitting.items()
                if not fits
                for gate in kind.gates
            },
        },
        absent_cases=dict(_absent_cases(run)),
    )


_CAUSES = {Status.SKIPPED: Cause.SKIPPED, Status.FAILED: Cause.FAILED, Status.PENDING: Cause.PENDING}


def _absent_cases(run: Run) -> Iterable[tuple[tuple[str, str], Absence]]:
    """Yields the gates and cases that `run` has and that are no reference, with the cause."""
    for result in run.cases:
        for gate, outcome in result.outcomes.items():
            if outcome.status in _CAUSES:
                details = (outcome.reason,) if outcome.reason else ()
                yield (gate, result.id), Absence(_CAUSES[outcome.status], details)
            elif gate == "timing" and not result.undisturbed:
                yield (gate, result.id), Absence(Cause.DISTURBED)


def trusted(run: Run, name: str, pins: tuple[Pin, ...]) -> Reference:
    """Returns the run of a trusted environment as the reference for one measured beside it, without its times.

    Times of the two are compared block by block. `pins` are the deviations that are let pass.
    """
    return Reference(
        name=name,
        convergence={one.id: curve_reference(one, run) for one in run.cases if one.curves},
        lines={kind.name: kind.of_run(run) for kind in LINES.values()},
        pins=pins,
        acceptable=False,
    )


def timing_reference(result: CaseResult, runs: list[Run]) -> TimingReference:
    """Returns the launches of a case in those of `runs` that measured it in the same version."""
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
    """Returns the curves of a case in `run`."""
    return CurveReference(
        id=result.id,
        version=result.case.version,
        profiles=result.case.profiles,
        device=kind_of_device(run),
        workload=result.case.labels.get("workload", ""),
        curves=result.curves,
    )
