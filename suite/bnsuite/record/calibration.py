"""What `bnsuite calibrate` measured of one model of GPU: ``calibration/<model>.json`` in the baselines.

Limits that were found on CPUs, or taken from thought, say little of a GPU. There they judge once they are calibrated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from bnsuite.record.files import exists, read_text
from bnsuite.record.gpu import Gpu
from bnsuite.record.key import slug
from bnsuite.record.lines import kind_of_device
from bnsuite.record.quantities import Count, Number, Seconds, Whole
from bnsuite.record.schema import Run, Value, Versioned
from bnsuite.record.store import parse

FOLDER = "calibration"
HINT = "restore it, or make it anew with `bnsuite calibrate`"
#: The entry of ``PlannedCase.to_calibrate`` that stands for the bound of a ratio.
RATIO = "ratio"

Positive = Annotated[float, Field(gt=0, lt=1e100)]
Spread = Annotated[float, Field(ge=0, lt=1e3)]


class CalibrationRun(Value):
    """A run that a part of a calibration was measured by."""

    #: When it began, which is its name in the other records.
    started: str
    profile: str
    #: Launches that were asked for.
    launches: Whole
    bnsuite: str
    revision: str | None
    python: str
    packages: dict[str, str]
    cuda: str | None
    cudnn: int | None
    cpu: str
    cores_given: int
    #: CPU threads of the measured processes.
    threads: int
    timed_cores: tuple[int, ...]
    flags: dict[str, bool]
    gpu: Gpu | None


class CalibratedRatio(Value):
    """A ratio of two times as it is on this model of GPU, and the bound that follows."""

    id: str
    version: int
    #: The geometric mean of the launches.
    ratio: Positive
    #: The standard deviation of the launches (log scale).
    spread: Spread
    #: Undisturbed launches.
    launches: Annotated[Whole, Field(ge=1)]
    #: The most the ratio may be.
    bound: Positive
    #: The bound that is shipped for GPUs, which nobody measured; null where there is none.
    assumed: Positive | None
    torch: str
    #: The times are the GPU's own, on a queue that was held back; null where that is not told.
    held: bool | None = None
    #: The runs, by the times at which they began.
    runs: tuple[str, ...]


class CalibratedLimit(Value):
    """The limit of one number that a check observes, found on CPUs until it was calibrated."""

    case: str
    version: int
    what: str
    #: The largest that was observed.
    value: Number
    limit: Number
    #: The limit that was found on CPUs.
    from_cpu: Number
    torch: str
    runs: tuple[str, ...]


class ControlFigure(Value):
    """A control beside the cases: how long one step of it takes on this GPU."""

    name: str
    #: The bytes that it moves, if it moves as many as the case beside it.
    nbytes: Count | None
    #: The median of the launches, each of which counts by its median.
    median_s: Seconds
    #: The standard deviation of the launches (log scale).
    spread: Spread
    launches: Annotated[Whole, Field(ge=1)]
    runs: tuple[str, ...]


class Deviation(Value):
    """A wrong result of a check that no calibration changes: to be examined, and then fixed or pinned."""

    case: str
    what: str
    value: Number | str
    limit: Number | None = None
    expected: str | None = None
    rule: str | None = None
    torch: str
    run: str


class Failure(Value):
    """A case that failed while the GPU was calibrated. It can't be pinned."""

    case: str
    gate: str
    reason: str
    run: str


class Calibration(Versioned):
    """What was measured of one model of GPU. A CPU has one as well if it was made, which judges nothing.

    History of the schema: 1, in 0.6.0, is the first.
    """

    SCHEMA: ClassVar[int] = 1

    #: The kind of device, such as "cuda".
    device: str
    #: The model, as torch names it.
    model: str
    runs: tuple[CalibrationRun, ...]
    ratios: tuple[CalibratedRatio, ...]
    limits: tuple[CalibratedLimit, ...]
    controls: tuple[ControlFigure, ...]
    deviations: tuple[Deviation, ...]
    failures: tuple[Failure, ...]

    def ratio(self, case: str, version: int) -> CalibratedRatio | None:
        """Returns the calibrated ratio of a case; None if there is none of this version."""
        found = self._ratios.get(case)
        return found if found is not None and found.version == version else None

    def limits_of(self, case: str, version: int) -> Mapping[str, CalibratedLimit]:
        """Returns the calibrated limits of a check, by the names of the observations."""
        return {one.what: one for one in self._limits.get(case, ()) if one.version == version}

    @cached_property
    def _ratios(self) -> dict[str, CalibratedRatio]:
        return {one.id: one for one in self.ratios}

    @cached_property
    def _limits(self) -> dict[str, list[CalibratedLimit]]:
        found: dict[str, list[CalibratedLimit]] = {}
        for one in self.limits:
            found.setdefault(one.case, []).append(one)
        return found


def model_of(run: Run) -> str:
    """Returns the model of the device that a run was measured on."""
    gpu = run.environment.gpu
    return gpu.name if gpu is not None else run.environment.cpu


def path(baselines: Path, run: Run) -> Path:
    """Returns the file of the model of device that `run` was measured on."""
    return baselines / FOLDER / f"{slug(f'{kind_of_device(run)} {model_of(run)}')}.json"


def read(baselines: Path, run: Run) -> Calibration | None:
    """Returns the calibration of the device of `run`, if there is one; raises InputError for an unusable file."""
    where = path(baselines, run)
    if not exists(where):
        return None
    return parse(Calibration, read_text(where, "calibration"), where, hint=HINT)


def judging(baselines: Path, run: Run) -> Calibration | None:
    """Returns the calibration that `run` is judged by: that of a GPU. A CPU is judged by the shipped limits."""
    return None if kind_of_device(run) == "cpu" else read(baselines, run)


def source(run: Run) -> CalibrationRun:
    """Returns what is kept of a run that a calibration is made of."""
    environment = run.environment
    return CalibrationRun(
        started=run.started,
        profile=run.options.profile,
        launches=run.options.launches,
        bnsuite=run.bnsuite,
        revision=run.revision,
        python=environment.python,
        packages=environment.packages,
        cuda=environment.cuda,
        cudnn=environment.cudnn,
        cpu=environment.cpu,
        cores_given=environment.cores_given,
        threads=environment.threads,
        timed_cores=run.isolation.timed_cores,
        flags=environment.flags,
        gpu=environment.gpu,
    )


def text(calibration: Calibration) -> str:
    """Returns the text of the file, which can be reviewed: one line per run, ratio, limit, control and deviation."""
    plain = calibration.model_dump(mode="json", by_alias=True)
    parts = []
    for name, value in plain.items():
        if isinstance(value, list) and value:
            lines = ",\n".join(f"  {json.dumps(one)}" for one in value)
            parts.append(f" {json.dumps(name)}: [\n{lines}\n ]")
        else:
            parts.append(f" {json.dumps(name)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"
