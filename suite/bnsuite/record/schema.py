"""The run and its parts, as they stand in ``run.json``. Seconds and bytes; raw samples, never rounded or trimmed.

A schema is one whole number a kind of file. A bump is a line of history and a migration beside it.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from bnsuite.record import migrations
from bnsuite.record.devices import FOUND
from bnsuite.record.diagnosis import Diagnosis
from bnsuite.record.durations import CostOfCase, TimeOfCase, Timetable
from bnsuite.record.image import ImageInfo
from bnsuite.record.launched import LaunchedKernels
from bnsuite.record.migrations import Migration
from bnsuite.record.value import Value as Value  # noqa: PLC0414  # the base of all records is found here

#: Alone on its core a timed process ran 99.7 to 100 % of the time (once 90 %), beside a busy one 49 to 52 %.
UNDISTURBED_SHARE = 0.95

#: A GPU that was so busy (per cent) before the measured process came is used by another one.
BUSY_PERCENT = 10

#: The gates of checks, which are looked at once and not timed.
CHECK_GATES = ("numerics", "behaviour")

#: From a picosecond to a few months: what lies outside is no measurement.
Seconds = Annotated[float, Field(gt=1e-12, lt=1e7)]
#: What 64 bits hold, and what stays finite when it is squared or divided: beyond them nothing was measured.
Whole = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
Count = Annotated[Whole, Field(ge=0)]
Bytes = Count
Number = Annotated[float, Field(gt=-1e100, lt=1e100)]
Share = Annotated[float, Field(ge=0, le=1)]
Loss = Number | None
"""None where the loss was not finite."""


class Versioned(Value):
    """A record that is a file, or a line of one: its "schema" says how it is to be read."""

    #: Today's version of the schema, and what turns version n into n + 1, on plain JSON.
    SCHEMA: ClassVar[int]
    MIGRATIONS: ClassVar[dict[int, Migration]] = {}

    schema_version: int = Field(alias="schema")


class Status(str, Enum):
    """The state of a measurement."""

    PENDING = "pending"
    MEASURED = "measured"
    SKIPPED = "skipped"
    FAILED = "failed"


class Memory(Value):
    """Bytes that a step held at its peak above what it found, in torch's allocator; the rest is seen from outside.

    Reserved bytes and peak RSS are the process's so far, the GPU's use is that of all processes after the step.
    """

    allocated_peak_bytes: Whole | None
    reserved_peak_bytes: Bytes | None = None
    gpu_used_bytes: Bytes | None = None
    rss_peak_bytes: Bytes | None = None


class GpuDisturbance(str, Enum):
    """The kinds of disturbance of a GPU."""

    THROTTLED = "gpu-throttled"
    SHARED = "gpu-shared"
    FAULTY = "gpu-faulty"
    BUSY_BEFORE = "gpu-busy-before"


class GpuWatch(Value):
    """The GPU by NVML while the rounds ran; None where the driver couldn't say.

    `foreign` counts processes other than the measured one; bytes are the most that was seen in use, by all and by
    the measured process; `energy_j` is the whole board's, over `window_s`.
    """

    throttled: tuple[str, ...] | None
    reasons: tuple[str, ...] | None
    foreign: Whole | None
    sm_clock_mhz_min: Whole | None
    sm_clock_mhz_max: Whole | None
    temperature_c_max: Whole | None
    power_w_max: Number | None
    energy_j: Number | None
    ecc_errors: Whole | None
    used_bytes: Bytes | None
    own_bytes: Bytes | None
    samples: Count
    sampling_s: Number
    trouble: str | None
    #: Seconds that each reason held the clocks down, by the driver's own counters.
    throttle_s: dict[str, Number] | None = None
    #: Reasons that spoil a measurement and that the driver does not count: samples had to tell.
    sampled_reasons: tuple[str, ...] = ()
    #: The median SM clock of the samples that were taken during the work.
    sm_clock_mhz_median: Number | None = None
    #: The number of these samples.
    clock_samples: Count = 0
    #: True if power is the average of a second, which is all that some drivers tell, and not that of an instant.
    power_averaged: bool | None = None
    #: Seconds from the first reading of the counters to the last.
    window_s: Number | None = None
    #: Watts of the idle board, before the measured process used it.
    idle_w: Number | None = None
    #: Foreign processes that worked, came or grew meanwhile; None in older runs.
    foreign_active: Whole | None = None
    #: The ids of those, as the driver lists them.
    foreign_ids: tuple[Count, ...] = ()
    #: The measured process's id in the driver's list; None if it is not listed.
    own_id: Count | None = None
    #: Why other processes may be there unseen: "own-hidden", "no-list", "mig", "vgpu", "mps".
    blind: tuple[str, ...] = ()
    #: The share of its time (per cent) that the GPU was busy before the measured process came.
    busy_before_percent: Count | None = None
    #: The memory in use before the measured process came.
    used_before_bytes: Bytes | None = None
    #: Memory errors meanwhile that were not corrected.
    ecc_uncorrected: Whole | None = None
    #: Rows of memory that were remapped meanwhile.
    rows_remapped: Whole | None = None
    #: True if a row is to be remapped when the GPU is reset.
    remap_pending: bool | None = None
    #: True if a row could not be remapped.
    remap_failed: bool | None = None
    #: Pages of memory that were retired meanwhile (GPUs before Ampere).
    pages_retired: Whole | None = None
    #: The driver's Xid events meanwhile; None where they can't be heard.
    xids: tuple[Whole, ...] | None = None

    @property
    def disturbance(self) -> GpuDisturbance | None:
        """The kind of disturbance that makes times taken meanwhile worthless, or None.

        Processes that only are there (a window system, an idle notebook) disturb nothing. Where other processes can't
        be seen, a GPU that was busy before this process came is taken to be shared.
        """
        if self.throttled:
            return GpuDisturbance.THROTTLED
        if self.ecc_uncorrected:
            return GpuDisturbance.FAULTY
        if self.foreign if self.foreign_active is None else self.foreign_active:
            return GpuDisturbance.SHARED
        unseen = {"own-hidden", "no-list"} & set(self.blind)
        return GpuDisturbance.BUSY_BEFORE if unseen and (self.busy_before_percent or 0) >= BUSY_PERCENT else None

    @property
    def disturbed(self) -> str | None:
        """The disturbance in words, or None."""
        words = {
            GpuDisturbance.THROTTLED: f"the GPU was throttled ({', '.join(self.throttled or ())})",
            GpuDisturbance.FAULTY: "the GPU's memory had errors that could not be corrected",
            GpuDisturbance.SHARED: "another process was on the GPU",
            GpuDisturbance.BUSY_BEFORE: "the GPU was busy before, and whose work that is can't be seen here",
        }
        return None if self.disturbance is None else words[self.disturbance]


class Timing(Value):
    """One case in one launch: seconds a step, a value a round, and the controls measured around it."""

    samples_s: tuple[Seconds, ...] = Field(min_length=1)
    iterations: Annotated[Whole, Field(ge=1)]
    controls_s: dict[str, Annotated[tuple[Seconds, ...], Field(min_length=1)]] = Field(min_length=1)
    #: Processor time over wall time while the rounds ran; None on a GPU.
    cpu_share: Annotated[Number, Field(ge=0)] | None
    memory: Memory
    #: Whether this launch was made to confirm a regression that earlier ones showed.
    confirms: bool = False
    #: How many examples one step goes through; None where that says nothing.
    examples: Annotated[Whole, Field(ge=1)] | None = None
    gpu: GpuWatch | None = None
    host_s: Annotated[tuple[Seconds, ...], Field(min_length=1)] | None = None
    held: bool | None = None

    @property
    def disturbed(self) -> str | None:
        """The disturbance that makes the samples worthless, or None: a shared core or GPU, or throttling."""
        if self.cpu_share is not None and self.cpu_share < UNDISTURBED_SHARE:
            return "something else had the core"
        return self.gpu.disturbed if self.gpu is not None else None


class Curve(Value):
    """The training of one seed: training loss per epoch, validation loss and accuracy before the first and after each.

    A regression has no accuracy.
    """

    seed: Whole
    train_loss: tuple[Loss, ...] = Field(min_length=1)
    val_loss: tuple[Loss, ...] = Field(min_length=1)
    val_accuracy: tuple[Share, ...]
    early_loss: Loss

    @model_validator(mode="after")
    def _of_the_same_epochs(self) -> Self:
        epochs = len(self.train_loss)
        if len(self.val_loss) != epochs + 1 or len(self.val_accuracy) not in {0, epochs + 1}:
            raise ValueError("training loss, validation loss and accuracy are not of the same epochs")
        return self


class Observation(Value):
    """One thing that a check saw, and what is right: a number up to `limit`, a word that is `expected`.

    With neither, what is right was accepted before.
    """

    what: str
    value: Number | str
    limit: Number | None = None
    expected: str | None = None


class PlannedCase(CostOfCase):
    """A case as the catalogue describes it."""

    id: Annotated[str, Field(pattern=r"^[!-~]+$")]
    #: A layer, the ratio of two layers, a check, a training, or any other timed step.
    kind: Literal["layer", "ratio", "check", "training", "workload"]
    #: Everything that the id says, by name: ids are not parsed.
    labels: dict[str, str]
    family: str
    version: Whole
    gates: tuple[str, ...]
    profiles: tuple[str, ...]
    nbytes: Bytes | None
    dataset: str | None
    target: Number | None
    gpu_only: bool
    timed_by: Literal["device", "elapsed"] = "elapsed"
    #: Packages it needs that are not installed where it would be measured.
    lacks: tuple[str, ...]
    #: Whether its data set has to be downloaded first.
    to_download: bool
    #: What must hold of it, and the threads that tell of layers of which it did not.
    rule: str | None
    threads: tuple[str, ...]
    #: The most a ratio may be, by kind of device; empty for other kinds.
    bounds: dict[str, Number]
    #: Seconds after which looking at it counts as hanging, whatever --timeout says; None for what is no check.
    limit_s: Annotated[float, Field(gt=0, lt=1e7)] | None
    #: What a GPU is judged by only once it is calibrated: patterns of names of observations, or "ratio".
    to_calibrate: tuple[str, ...] = ()
    #: Processes that run a step together, each on a core, or GPU, of its own.
    ranks: Annotated[int, Field(ge=1, lt=1 << 16)] = 1


class Outcome(Value):
    """The state of one kind of measurement of a case, and what stopped it."""

    status: Status
    reason: str | None = None


class CaseResult(TimeOfCase):
    """A case and everything that was measured of it; `outcomes` has one entry a gate of the case."""

    case: PlannedCase
    outcomes: dict[str, Outcome]
    timings: tuple[Timing, ...] = ()
    curves: tuple[Curve, ...] = ()
    observations: tuple[Observation, ...] = ()
    #: What a step launches; None if it was not looked at.
    kernels: LaunchedKernels | None = None

    @property
    def undisturbed(self) -> tuple[Timing, ...]:
        """The launches that count."""
        return tuple(timing for timing in self.timings if not timing.disturbed)

    @property
    def id(self) -> str:
        return self.case.id


class GpuFacts(Value):
    """NVML's facts about a GPU, which do not change while it is measured; None where the driver can't say."""

    name: str | None
    uuid: str
    driver: str | None
    cuda: str | None
    mig: bool | None
    mig_slice: bool
    ecc: bool | None
    pcie_generation: int | None
    pcie_generation_max: int | None
    pcie_width: int | None
    pcie_width_max: int | None
    power_limit_w: float | None
    sm_clock_mhz_max: int | None
    memory_clock_mhz_max: int | None
    memory_total_bytes: Bytes | None
    #: As the kernel writes it, such as "0000:3b:00.0".
    pci_address: str | None = None
    #: The cores on the GPU's NUMA node.
    cores: tuple[Count, ...] | None = None
    #: True if persistence mode is on.
    persistence: bool | None = None
    #: NVML's number: 0 for any processes, 2 for none, 3 for one.
    compute_mode: int | None = None
    #: The clock that application clocks set; the driver does not tell of locked ones.
    sm_clock_mhz_set: int | None = None
    #: True if it is a part of a GPU that other virtual machines use as well.
    vgpu: bool | None = None


class Gpu(Value):
    """The GPU as torch sees it, and as the driver does."""

    name: str
    count: int
    capability: str
    memory_total_bytes: Bytes
    driver: str | None
    nvml: GpuFacts | None
    l2_bytes: Bytes | None = None


class EnvironmentInfo(Value):
    """The surroundings of the measured processes: versions (judged), and machine and flags (must match)."""

    python: str
    implementation: str
    system: str
    libc: str
    packages: dict[str, str]
    torch_git: str | None
    cuda: str | None
    cudnn: int | None
    cpu: str
    cpu_capability: str
    cores_given: Annotated[int, Field(ge=1)]
    threads: Annotated[int, Field(ge=1)]
    gpu: Gpu | None
    flags: dict[str, bool]
    variables: dict[str, str]
    #: The precisions that torch's libraries use for float32, such as "tf32", by library and operation.
    precisions: dict[str, str] = Field(default_factory=dict)
    #: The container image that it is; None where it is none, or nothing tells.
    image: ImageInfo | None = None
    #: If TF32 is used by checks, where it never is, and by what is timed, where it is torch's default; None on a CPU.
    tf32: dict[str, bool] | None = None
    #: Measured on a CUDA that is a name, by the project's own tests: it says nothing about a GPU.
    rehearsal: bool = False


class Isolation(Value):
    """The settings that isolated the measured processes, and those that could not be applied."""

    variables: dict[str, str]
    #: The cores of the timed processes; none if they were not fixed.
    timed_cores: tuple[int, ...]
    not_applied: tuple[str, ...] = ()


class RunOptions(Value):
    """The run as it was asked for."""

    device: str
    profile: str
    select: str | None
    launches: int
    seeds: tuple[int, ...]
    threads: int
    timeout_s: float
    #: The implementation that stood in for torch's batch norm, as it was named; None for torch's own.
    implementation: str | None
    #: Files of the user's whose cases were measured as well, as ``/a/file.py`` or ``/a/file.py:NAME``.
    cases: tuple[str, ...] = ()
    #: The environment that was measured, as the user writes it; "." is the interpreter of the command.
    environment: str = "."
    #: The kinds that the implementation supports by --supports, as lists of words by name; None if it was not given.
    supports: dict[str, tuple[str, ...]] | None = None
    #: Whether ranks were to share cores where there are too few for each to have its own.
    oversubscribe: bool = False
    #: Seconds given for the measuring by --budget; None for no limit.
    budget_s: Annotated[float, Field(gt=0, lt=1e7)] | None = None


class RunKind(str, Enum):
    """The kinds of measurement that a ``run.json`` may hold; only a run is judged by and accepted into baselines."""

    RUN = "run"
    SIDE = "side"


class Run(Versioned, Timetable):
    """All samples of one environment.

    History of the schema: 1, in 0.1.0, is the first. 2, in 0.2.0, tells what a case needs beyond torch, and lets a
    curve be without accuracy. 3, in 0.3.0, has observations of checks, bounds of relations, the implementation that
    was judged and what NVML saw of the GPU. 4, in 0.4.0, says what kind of run it is, names ``options`` and
    ``isolation`` so, has one record of NVML's facts, kind and labels of each case, readable ids of checks and ratios,
    and ``gpu_only`` for ``cuda_only``. 5, in 0.5.0, says what an implementation supports, and has its diagnosis. 6, in
    0.6.0, has what a GPU adds to a measurement.
    """

    SCHEMA: ClassVar[int] = 6
    MIGRATIONS: ClassVar[dict[int, Migration]] = {
        1: migrations.tell_needs,
        2: migrations.know_of_checks,
        3: migrations.name_options,
        4: lambda file: {**file, "schema": 5},
        5: lambda file: {**file, "schema": 6},
    }

    #: A run of its own, or a side of a comparison, whose times were taken by turns and beside other controls.
    kind: RunKind = RunKind.RUN
    #: Which side of a comparison: "a" is trusted, "b" is judged; None for a run.
    side: Annotated[str, Field(pattern="^[ab]$")] | None = None
    #: The known fault that was injected, if one was (see ``measure/fault_injection.py``).
    injected: dict[str, Number] = Field(default_factory=dict)
    bnsuite: str
    revision: str | None
    started: str
    wall_s: Annotated[float, Field(ge=0, lt=1e9)]
    finished: bool
    #: Cases of the profile that only a GPU has, and that a CPU's run does without.
    left_out: Annotated[int, Field(ge=0)] = 0
    #: Why a run that is not finished ended, such as "interrupted"; "budget" in one that is, but for open cases.
    ended_by: str | None = None
    options: RunOptions
    device: Annotated[str, Field(pattern=FOUND)]
    environment: EnvironmentInfo
    isolation: Isolation
    #: How the implementation's results differ from batch norm; None for torch's own layers.
    diagnosis: Diagnosis | None = None
    cases: tuple[CaseResult, ...]

    @field_validator("cases")
    @classmethod
    def _each_once(cls, cases: tuple[CaseResult, ...]) -> tuple[CaseResult, ...]:
        if len({one.id for one in cases}) < len(cases):
            raise ValueError("a case stands there twice")
        return cases
