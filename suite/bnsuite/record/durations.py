"""How long measurements were to take and took: parts of the records of a case and of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from bnsuite.record.value import Value

if TYPE_CHECKING:
    from bnsuite.record.schema import PlannedCase, Run, RunOptions

#: What ends a run that is finished but for open cases.
BUDGET = "budget"

_Duration = Annotated[float, Field(gt=1e-12, lt=1e7)]
_StageTime = Annotated[float, Field(ge=0, lt=1e9)]


class CostOfCase(Value):
    """What the catalogue says of a case's time."""

    #: Steps of a training: of one "epoch", of one seed ("convergence"), and of one launch ("timing").
    steps: dict[str, Annotated[int, Field(ge=0, lt=1 << 63)]] = Field(default_factory=dict)
    #: The most seeds of a training that are recorded, where that is fewer than the run's.
    most_seeds: Annotated[int, Field(ge=1, lt=1 << 63)] | None = None
    #: The launches in which it is timed, where that is fewer than the run's.
    most_launches: Annotated[int, Field(ge=1, lt=1 << 63)] | None = None
    #: Seconds of warm-up and rounds in one launch by kind of device, as long as a step is short.
    timed_s: dict[str, _Duration] = Field(default_factory=dict)


class TimeOfCase(Value):
    """What measuring a case took."""

    #: Seconds of each measurement with all that belongs to it, by gate: a launch, a seed, a check.
    took_s: dict[str, tuple[_Duration, ...]] = Field(default_factory=dict)


class Timetable(Value):
    """The stages of a run: "checks", "trainings", "timing" and "confirming"."""

    #: Seconds that each stage was to take by plan, within the budget.
    planned: dict[str, _StageTime] = Field(default_factory=dict)
    #: Seconds that each stage took.
    took: dict[str, _StageTime] = Field(default_factory=dict)


def seeds_of(options: RunOptions, case: PlannedCase) -> tuple[int, ...]:
    """Returns the seeds of a training that are recorded."""
    return options.seeds[: case.most_seeds]


def launches_of(options: RunOptions, case: PlannedCase) -> int:
    """Returns the launches in which a case is timed."""
    return min(options.launches, case.most_launches or options.launches)


def cut_short(run: Run) -> bool:
    """Returns if the budget of a run ended before all was measured."""
    return run.finished and run.ended_by == BUDGET
