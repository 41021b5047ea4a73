"""What measured processes say. Their output is never trusted: every message is checked before it is used."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from typing_extensions import Self

from bnsuite.launch.process.child import ChildError
from bnsuite.record.details import Detail
from bnsuite.record.schema import (
    Curve,
    EnvironmentInfo,
    GpuWatch,
    Memory,
    Number,
    Observation,
    PlannedCase,
    Seconds,
    Timing,
    Value,
    Whole,
)
from bnsuite.record.store import first_problem


class Catalogue(Value):
    """Answer to "catalogue": the cases of a profile, or why there is no catalogue."""

    refused: str | None
    cases: tuple[PlannedCase, ...]


class EnvironmentAnswer(Value):
    """Answer to "environment": the device that will be measured and what surrounds it, or why it can't be."""

    device: str | None
    environment: EnvironmentInfo | None
    refused: str | None


class StartAnswer(Value):
    """Answer to "start" and "prepare": torch is imported."""


class DatasetsAnswer(Value):
    """Answer to "stage": the data sets lie where they were asked for, but for those missing, with the reason."""

    missing: dict[str, str]


class CheckAnswer(Value):
    """Answer to "check": what was seen, or why there was nothing to look at."""

    observations: tuple[Observation, ...]
    skipped: str | None

    @model_validator(mode="after")
    def _either(self) -> Self:
        if bool(self.observations) == bool(self.skipped):
            raise ValueError("a check sees something, or says why it can't")
        if len({one.what for one in self.observations}) < len(self.observations):
            raise ValueError("two observations of one name")
        return self


class TrainingAnswer(Value):
    """Answer to "curve": what was seen of a training, or why the implementation has no part in it."""

    curve: Curve | None
    detail: Detail | None
    skipped: str | None

    @model_validator(mode="after")
    def _either(self) -> Self:
        if len({self.skipped is None, self.curve is not None, self.detail is not None}) != 1:
            raise ValueError("a training is followed, or it is said why not")
        return self


class ReadyAnswer(Value):
    """Answer to "build": about how many seconds a step of the case takes, or why there is nothing to be timed.

    Before each round of a cold case the caches are emptied, so that its rounds are of one step.
    """

    step_s: Seconds | None
    cold: bool
    examples: Annotated[Whole, Field(ge=1)] | None
    skipped: str | None

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.step_s is None) == (self.skipped is None):
            raise ValueError("a case is ready, or is skipped for a reason")
        return self


class MoveAnswer(Value):
    """Answer to "rebuild": the case lies elsewhere in memory."""


class BlockAnswer(Value):
    """Answer to "time_block": seconds a step, a value a round, and processor time over wall time (None on a GPU)."""

    samples_s: tuple[Seconds, ...] = Field(min_length=1)
    cpu_share: Annotated[Number, Field(ge=0)] | None


class MemoryAnswer(Value):
    """Answer to "measure_memory"."""

    memory: Memory


class Done(Value):
    """Answer to "release": what the GPU went through since the case was made ready; None on a CPU."""

    gpu: GpuWatch | None


class Begin(Value):
    """A timing launch has begun a case."""

    event: Literal["begin"]
    case: str


class Measured(Value):
    """A timing launch has measured a case."""

    event: Literal["measured"]
    case: str
    timing: Timing


class Failed(Value):
    """A case raised in a timing launch; the reason is the exception in one line."""

    event: Literal["failed"]
    case: str
    reason: str


class Skipped(Value):
    """There is nothing of a case to be timed here, for this reason."""

    event: Literal["skipped"]
    case: str
    reason: str


Event = Annotated[Begin | Measured | Failed | Skipped, Field(discriminator="event")]
EVENT: TypeAdapter[Begin | Measured | Failed | Skipped] = TypeAdapter(Event)

T = TypeVar("T")


def understand(line: str, kind: TypeAdapter[T]) -> T:
    """`line` as a `kind`; ChildError with the first problem if it isn't one."""
    try:
        return kind.validate_json(line)
    except ValidationError as error:
        raise ChildError(f"sent an unusable message: {first_problem(error)}") from error
