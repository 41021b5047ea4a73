"""Accepted references on disk.

``timing/<machine>.json`` belongs to one kind of machine and has one line per case. ``convergence/<workload>.jsonl`` is
portable and has one line per seed. Both can be reviewed like code.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from bnsuite.record import calibration, pins
from bnsuite.record.errors import InputError
from bnsuite.record.files import read_lines, read_text
from bnsuite.record.key import MachineKey, differences, machine_key
from bnsuite.record.lines import LINES
from bnsuite.record.migrations import Migration
from bnsuite.record.reference import Absence, Cause, CurveReference, Reference, TimingReference
from bnsuite.record.schema import Curve, EnvironmentInfo, Run, Value, Versioned
from bnsuite.record.store import parse


class Origin(Value):
    """The origin of accepted numbers."""

    bnsuite: str
    revision: str | None
    started: str
    python: str
    packages: dict[str, str]
    cuda: str | None
    cudnn: int | None
    #: All of the environment, from 0.7.0 on.
    environment: EnvironmentInfo | None = None

    @property
    def recorded(self) -> dict[str, Any]:
        """The environment as far as it is known, by the names of ``EnvironmentInfo``."""
        if self.environment is not None:
            return self.environment.model_dump(mode="json")
        return self.model_dump(mode="json", include={"python", "packages", "cuda", "cudnn"})


def _tell_torch(file: dict[str, Any]) -> dict[str, Any]:
    """From 1 to 2: all cases were taken to be of the torch of the run that was accepted last."""
    torch = file["origin"]["packages"].get("torch")
    return {**file, "schema": 2, "cases": [{**one, "torch": torch} for one in file["cases"]]}


class TimingFile(Versioned):
    """Accepted timings of one machine.

    History of the schema: 1 is the first. 2, in 0.4.0, tells the torch of each case: they may be accepted one by one.
    """

    SCHEMA: ClassVar[int] = 2
    MIGRATIONS: ClassVar[dict[int, Migration]] = {1: _tell_torch}

    machine: MachineKey
    #: Of the run that was accepted last.
    origin: Origin
    cases: tuple[TimingReference, ...]


class CurveLine(Versioned):
    """A line of an accepted workload: a case and one seed's curve.

    History of the schema: 1 is the first. 2, in 0.2.0, lets a curve be without accuracy.
    """

    SCHEMA: ClassVar[int] = 2
    MIGRATIONS: ClassVar[dict[int, Migration]] = {1: lambda line: {**line, "schema": 2}}

    id: str
    version: int
    profiles: tuple[str, ...]
    device: str
    torch: str
    curve: Curve


def load(folder: Path, run: Run) -> Reference:
    """Returns the baselines in `folder` for the machine that `run` was measured on.

    Raises InputError for a file in it that can't be used.
    """
    key = machine_key(run)
    timing = read_timing(folder, key)
    absent: dict[str, Absence] = {}
    nearest: dict[str, TimingReference] = {}
    if timing is None:
        absent["timing"], cases = _nearest(folder, key)
        nearest = {one.id: one for one in cases}
    return Reference(
        name=f"{folder}/",
        timing={one.id: one for one in timing.cases} if timing else {},
        convergence=_read_curves(folder),
        lines={name: kind.read(folder, run) for name, kind in LINES.items()},
        pins=pins.read(folder),
        absent=absent,
        nearest=nearest,
        calibration=calibration.judging(folder, run),
        recorded=timing.origin.recorded if timing else {},
    )


def without_folder(folder: Path) -> Reference:
    """Returns the reference where there is no folder of baselines: known deviations alone."""
    return Reference(name=f"{folder}/", pins=pins.read(folder), absent={"timing": Absence(Cause.NO_FOLDER)})


def read_timing(folder: Path, key: MachineKey) -> TimingFile | None:
    """Returns the accepted times of the machine `key`, or of one whose power limit hardly differs; None if none are."""
    path = timing_path(folder, key)
    if not path.exists():
        for name in key.names[1:]:
            near = _read_file(folder / "timing" / f"{name}.json")
            if near is not None and not differences(near.machine, key):
                return near
        return None
    file = parse(TimingFile, read_text(path, "timing baseline"), path)
    apart = differences(file.machine, key)
    if apart:
        raise InputError(
            f"{path}: belongs to another machine ({'; '.join(apart)}); restore it, or remove it and accept a run"
        )
    return file


def _read_file(path: Path) -> TimingFile | None:
    """Returns the file at `path`; None where there is none that can be read: it is another machine's."""
    with contextlib.suppress(InputError):
        return parse(TimingFile, read_text(path, "timing baseline"), path) if path.exists() else None
    return None


def _nearest(folder: Path, key: MachineKey) -> tuple[Absence, tuple[TimingReference, ...]]:
    """Returns why there is no timing baseline: none at all, or none for this machine; and the nearest machine's."""
    files = []
    for path in sorted((folder / "timing").glob("*.json")):
        with contextlib.suppress(InputError):  # another machine's file is no concern of this run
            files.append(parse(TimingFile, read_text(path, "timing baseline"), path))
    if not files:
        return Absence(Cause.NO_TIMING), ()
    nearest = min(files, key=lambda file: len(differences(file.machine, key)))
    return Absence(Cause.NO_TIMING_OF_MACHINE, tuple(differences(nearest.machine, key))), nearest.cases


def _read_curves(folder: Path) -> dict[str, CurveReference]:
    found = {}
    for path in sorted((folder / "convergence").glob("*.jsonl")):
        for name, lines in lines_by_case(path):
            first = lines[0]
            found[name] = CurveReference(
                id=name,
                version=first.version,
                profiles=first.profiles,
                device=first.device,
                workload=path.stem,
                curves=tuple(line.curve for line in lines),
            )
    return found


def lines_by_case(path: Path) -> Iterable[tuple[str, list[CurveLine]]]:
    if not path.exists():
        return []
    by_case: dict[str, list[CurveLine]] = {}
    for number, line in enumerate(read_lines(path, "convergence baseline"), start=1):
        one = parse(CurveLine, line, path, f", line {number}")
        by_case.setdefault(one.id, []).append(one)
    return by_case.items()


def file_name(workload: str) -> str:
    """Returns the name of a workload's file, without ".jsonl"; raises InputError for one that is no file name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", workload):
        shown = workload if len(workload) < 80 else f"{workload[:80]}…"
        raise InputError(f"{shown!r} can't be the name of a workload's file; rename the workload, or measure again")
    return workload


def timing_path(folder: Path, key: MachineKey) -> Path:
    """Returns the file of the machine `key`."""
    return folder / "timing" / f"{key.name}.json"


def curve_path(folder: Path, workload: str) -> Path:
    return folder / "convergence" / f"{file_name(workload)}.jsonl"
