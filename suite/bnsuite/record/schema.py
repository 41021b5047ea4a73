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
from bnsuite.record.functions import ROLES
from bnsuite.record.gpu import Gpu, GpuWatch
from bnsuite.record.image import ImageInfo
from bnsuite.record.launched import LaunchedKernels
from bnsuite.record.migrations import Migration
from bnsuite.record.package_index import PackageIndex
from bnsuite.record.quantities import Bytes, Number, Seconds, Share, Whole
from bnsuite.record.value import Value as Value  # noqa: PLC0414  # the base of all records is found here

#: Alone on its core a timed process ran 99.7 to 100 % of the time (once 90 %), beside a busy one 49 to 52 %.
UNDISTURBED_SHARE = 0.95

#: The gates of checks, which are looked at once and not timed.
CHECK_GATES = ("numerics", "behaviour")

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


class Timing(Value):
    """One case in one launch: seconds a step, a value a round, and the controls measured around it."""

    samples_s: tuple[Seconds, ...] = Field(min_length=1)
    iterations: Annotated[Whole, Field(ge=1)]
    controls_s: dict[str, Annotated[tuple[Seconds, ...], Field(min_length=1)]] = Field(min_length=1)
    #: CPU time over wall time while the rounds ran; None on a GPU.
    cpu_share: Annotated[Number, Field(ge=0)] | None
    memory: Memory
    #: Whether this launch was made to confirm a regression that earlier ones showed.
    confirms: bool = False
    #: How many examples one step goes through; None where that says nothing.
    examples: Annotated[Whole, Field(ge=1)] | None = None
    gpu: GpuWatch | None = None
    host_s: Annotated[tuple[Seconds, ...], Field(min_length=1)] | None = None
    held: bool | None = None
    #: CPU time of all threads over wall time while the rounds ran: the cores that were kept busy. None where it
    #: is not known, and for several ranks. Times the time of a step, it is the CPU time of a step.
    cores_busy: Annotated[Number, Field(ge=0)] | None = None

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
    #: The libraries underneath torch and their versions, such as oneDNN, MKL and the OpenMP runtime, as torch names
    #: them; what could not be parsed stands as text under "other".
    builds: dict[str, str] = Field(default_factory=dict)
    #: The settings that torch was built with, such as `USE_MKLDNN`, without folders of the machine that built it.
    build_settings: dict[str, str] = Field(default_factory=dict)
    #: The features of the CPU that its libraries choose their code by, such as `amx_tile`; None where that is unknown.
    cpu_features: tuple[str, ...] | None = None
    #: Those that torch says it can use.
    cpu_used: dict[str, bool] = Field(default_factory=dict)


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
    #: Workloads of the user's that were measured, as ``/a/file.py`` or ``/a/file.py:NAME``.
    workloads: tuple[str, ...] = ()
    #: The environment that was measured, as the user writes it; "." is the interpreter of the command.
    environment: str = "."
    #: The kinds that the implementation supports by --supports, as lists of words by name; None if it was not given.
    supports: dict[str, tuple[str, ...]] | None = None
    #: The function that stood in for torch's own that fold a layer into the module before it; None for those.
    fold: str | None = None
    #: The one that stood in for torch's own that takes the running statistics of a model anew; None for that.
    update_bn: str | None = None
    #: The package index named for the releases of torch of the command; None for that of pip's settings.
    index: PackageIndex | None = None
    #: Whether ranks were to share cores where there are too few for each to have its own.
    oversubscribe: bool = False
    #: Seconds given for the measuring by --budget; None for no limit.
    budget_s: Annotated[float, Field(gt=0, lt=1e7)] | None = None
    #: The file that defaults of options were taken from, absolute; None for no file.
    config: str | None = None

    @property
    def functions(self) -> dict[str, str]:
        """The user's functions that stood in for torch's, by role."""
        return {role: name for role in ROLES if (name := getattr(self, role)) is not None}

    @property
    def replaces(self) -> bool:
        """Whether something of the user's stood in for torch's own; only cases that contain it are measured."""
        return self.implementation is not None or bool(self.functions)


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
    #: Cases of the profile that only a GPU has, or that have more ranks than there are cores or GPUs for them.
    left_out: Annotated[int, Field(ge=0)] = 0
    #: Those of them that only lack cores, or GPUs, for their ranks.
    left_out_ranks: Annotated[int, Field(ge=0)] = 0
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
