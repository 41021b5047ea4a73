"""Messages of measured processes. Their output is never trusted: every message is checked before it is used."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator
from typing_extensions import Self

from bnsuite.launch.process.child import ChildError
from bnsuite.record.details import Detail
from bnsuite.record.devices import FOUND
from bnsuite.record.diagnosis import Diagnosis
from bnsuite.record.gpu import GpuWatch
from bnsuite.record.launched import LaunchedKernels
from bnsuite.record.quantities import Count, Number, Seconds, Whole
from bnsuite.record.schema import Curve, EnvironmentInfo, Memory, Observation, PlannedCase, Timing, Value
from bnsuite.record.store import first_problem

#: A reason is one line of a table; an exception's text may be of any length.
MAX_REASON_CHARACTERS = 500


def shorten(text: str) -> str:
    """Returns `text` in one line of no more than MAX_REASON_CHARACTERS."""
    line = " ".join(text[: 2 * MAX_REASON_CHARACTERS].splitlines())
    if len(line) <= MAX_REASON_CHARACTERS:
        return line
    return f"{line[:MAX_REASON_CHARACTERS]} ... ({len(text)} characters)"


#: Why something was not measured, in the words of the measured process.
Reason = Annotated[str, AfterValidator(shorten)]


class Catalogue(Value):
    """Answer to "catalogue": the cases of a profile, or why there is no catalogue."""

    refused: str | None
    cases: tuple[PlannedCase, ...]


class EnvironmentAnswer(Value):
    """Answer to "environment": the device that will be measured and its surroundings, or why there is none."""

    device: str | None
    environment: EnvironmentInfo | None
    refused: Reason | None


class StartAnswer(Value):
    """Answer to "start" and "prepare": torch is imported; glibc's tunables as the process got them, if it says so."""

    tunables: str | None = None


class DatasetsAnswer(Value):
    """Answer to "stage": all data sets are in the folder, but for those missing, with the reason."""

    missing: dict[str, Reason]


class GpuCondition(Value):
    """The state of the measured GPU by NVML; None where the driver can't say.

    Of a MIG slice the processes are its own. ECC errors are those since the driver was loaded.
    """

    name: str | None
    uuid: str
    mig: bool | None
    mig_slices: Count | None
    mig_slice: bool
    persistence: bool | None
    compute_mode: Whole | None
    sm_clock_mhz: Whole | None
    sm_clock_mhz_max: Whole | None
    reasons: tuple[str, ...] | None
    temperature_c: Whole | None
    power_limit_w: Number | None
    ecc_corrected: Count | None
    ecc_uncorrected: Count | None
    remapped_correctable: Count | None
    remapped_uncorrectable: Count | None
    remap_pending: bool | None
    remap_failed: bool | None
    pages_pending: bool | None
    processes: tuple[Count, ...] | None
    mps_processes: Count | None
    used_bytes: Count | None = None
    total_bytes: Count | None = None
    trouble: Reason | None
    #: Those of the processes that only draw, as a window system does.
    drawing: tuple[Count, ...] | None = None


class GpuAnswer(Value):
    """Answer to "gpu": versions of the driver and of the CUDA it offers, the number of GPUs, and the measured one.

    `gpu` is None where it can't be identified, with the reason in `trouble`; without a driver all are None.
    """

    driver: str | None
    cuda: str | None
    count: Count | None
    gpu: GpuCondition | None
    trouble: Reason | None


class KernelAnswer(Value):
    """Answer to "kernel": the device, whether it computed right, and seconds to the first result and to a second one.

    Where it did not come so far there is the error in one line, and the code of its fix if it is a known one.
    """

    device: str | None
    right: bool | None
    first_s: Number | None
    again_s: Number | None
    error: Reason | None
    fix: Reason | None


class ProbeAnswer(Value):
    """Answer to "probe": why a fresh process can't compute on the device, or None."""

    trouble: Reason | None


class CheckAnswer(Value):
    """Answer to "check": observations, or why there are none."""

    observations: tuple[Observation, ...]
    skipped: Reason | None
    #: Why the process that answers is to answer no other request, if it is.
    unfit: Reason | None = None

    @model_validator(mode="after")
    def _either(self) -> Self:
        if bool(self.observations) == bool(self.skipped):
            raise ValueError("a check has observations, or a reason why it has none")
        if len({one.what for one in self.observations}) < len(self.observations):
            raise ValueError("two observations of one name")
        return self


class FoundDevice(Value):
    """One GPU: its name as torch numbers it, its model, and the UUID by which NVML knows it."""

    name: Annotated[str, Field(pattern=FOUND)]
    model: Annotated[str, AfterValidator(shorten)]
    uuid: str | None


class DevicesAnswer(Value):
    """Answer to "devices": all GPUs, or why there is none."""

    refused: Reason | None
    devices: tuple[FoundDevice, ...]


class DiagnosisAnswer(Value):
    """Answer to "diagnose"."""

    diagnosis: Diagnosis


class TrainingAnswer(Value):
    """Answer to "curve": the curve and details of a training, or why the implementation has no part in it."""

    curve: Curve | None
    detail: Detail | None
    skipped: Reason | None

    @model_validator(mode="after")
    def _either(self) -> Self:
        if len({self.skipped is None, self.curve is not None, self.detail is not None}) != 1:
            raise ValueError("a training has a curve and details, or a reason why it has none")
        return self


class TimedCaseAnswer(Value):
    """Answer to "time_case": the timing of one launch, or why there is nothing to be timed."""

    timing: Timing | None
    skipped: Reason | None

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.timing is None) == (self.skipped is None):
            raise ValueError("a case has a timing, or a reason why it has none")
        return self


class KernelsAnswer(Value):
    """Answer to "kernels": what a step launches, or why that can't be seen."""

    kernels: LaunchedKernels | None
    skipped: Reason | None

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.kernels is None) == (self.skipped is None):
            raise ValueError("a step launches something, or there is a reason why that is not known")
        return self


class ReadyAnswer(Value):
    """Answer to "build": about how many seconds a step of the case takes, or why there is nothing to be timed.

    Before each round of a cold case the caches are emptied, so that its rounds are of one step. A device with a queue
    of its own also says what a step takes with the host's part, and how its blocks must be.
    """

    step_s: Seconds | None
    cold: bool
    examples: Annotated[Whole, Field(ge=1)] | None
    skipped: Reason | None
    wall_s: Seconds | None = None
    #: The most steps of a round; None for any number.
    max_iterations: Annotated[Whole, Field(ge=1)] | None = None
    round_s: Seconds | None = None
    block_s: Seconds | None = None
    layouts: Annotated[Whole, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.step_s is None) == (self.skipped is None):
            raise ValueError("a case is ready, or is skipped for a reason")
        return self


class MoveAnswer(Value):
    """Answer to "rebuild": the case lies elsewhere in memory."""


class BlockAnswer(Value):
    """Answer to "time_block": seconds a step, a value a round, and CPU time over wall time (None on a GPU).

    On a GPU also the host's seconds to launch a step, and if the samples are without them. Of a single rank also the
    CPU time of all threads over wall time.
    """

    samples_s: tuple[Seconds, ...] = Field(min_length=1)
    cpu_share: Annotated[Number, Field(ge=0)] | None
    host_s: Annotated[tuple[Seconds, ...], Field(min_length=1)] | None = None
    held: bool | None = None
    cores_busy: Annotated[Number, Field(ge=0)] | None = None


class MemoryAnswer(Value):
    """Answer to "measure_memory"."""

    memory: Memory


class DoneAnswer(Value):
    """Answer to "release": what the GPU went through since the case was made ready; None on a CPU."""

    gpu: GpuWatch | None


class BeginEvent(Value):
    """A timing launch has begun a case."""

    event: Literal["begin"]
    case: str


class TimingEvent(Value):
    """A timing launch has measured a case."""

    event: Literal["measured"]
    case: str
    timing: Timing


class FailureEvent(Value):
    """A case raised in a timing launch; the reason is the exception in one line."""

    event: Literal["failed"]
    case: str
    reason: Reason


class SkipEvent(Value):
    """There is nothing of a case to be timed, for this reason."""

    event: Literal["skipped"]
    case: str
    reason: Reason


class EndEvent(Value):
    """A timing launch is over, and its files are written; only its process is still to end.

    It waits for `threads` other threads.
    """

    event: Literal["end"]
    threads: Annotated[Whole, Field(ge=0)]


Event = BeginEvent | TimingEvent | FailureEvent | SkipEvent | EndEvent
EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])

T = TypeVar("T")


def parse_message(line: str, kind: TypeAdapter[T]) -> T:
    """Returns `line` as a `kind`; ChildError with the first problem if it is none."""
    try:
        return kind.validate_json(line)
    except ValidationError as error:
        raise ChildError(f"sent an unusable message: {shorten(first_problem(error))}") from error
