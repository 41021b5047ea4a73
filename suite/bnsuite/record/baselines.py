"""Accepted references on disk: read as a Reference, and written from runs after showing what changes.

``timing/<machine>.json`` belongs to one kind of machine, a line a case. ``convergence/<workload>.jsonl`` is
portable, a line a seed. Both are made to be reviewed like code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from bnsuite.record.errors import InputError
from bnsuite.record.files import make_folder, read_text, write_atomically
from bnsuite.record.key import MachineKey, differences, machine_key
from bnsuite.record.reference import CurveReference, Reference, TimingReference, curve_reference, timing_reference
from bnsuite.record.schema import SCHEMA, Curve, Run, Value
from bnsuite.record.store import from_plain, parse


class Origin(Value):
    """Where an accepted number comes from."""

    bnsuite: str
    revision: str | None
    started: str
    python: str
    packages: dict[str, str]
    cuda: str | None
    cudnn: int | None


class TimingFile(Value):
    """Accepted timings of one machine."""

    schema_version: int = Field(alias="schema")
    machine: MachineKey
    origin: Origin
    cases: tuple[TimingReference, ...]


class CurveLine(Value):
    """A line of an accepted workload: the case it belongs to and one seed's curve."""

    schema_version: int = Field(alias="schema")
    id: str
    version: int
    profiles: tuple[str, ...]
    device: str
    torch: str
    curve: Curve


@dataclass(frozen=True)
class Change:
    """What accepting would do to one case."""

    case: str
    gate: str
    what: str


def load(folder: Path, run: Run) -> Reference:
    """What `folder` holds for the machine `run` was measured on.

    Raises InputError for a file in it that can't be used.
    """
    key = machine_key(run)
    timing = _read_timing(folder, key)
    return Reference(
        name=f"{folder}/",
        timing={one.id: one for one in timing.cases} if timing else {},
        convergence=_read_curves(folder),
        no_timing=None if timing else _nearest(folder, key),
    )


def accept(runs: list[Run], folder: Path) -> tuple[list[Change], dict[Path, str]]:
    """What accepting `runs`, of one machine, changes: a list to show, and the texts of the files to write.

    Timings are taken from all runs together, so that the baseline knows how far the machine drifts from run to
    run. Raises InputError if the runs don't belong together, hold nothing, or would replace curves of more seeds
    by curves of fewer.
    """
    key = machine_key(runs[0])
    for other in runs[1:]:
        apart = differences(machine_key(other), key)
        if apart:
            raise InputError(f"the runs are of different machines ({'; '.join(apart)}); accept one machine's at a time")
    changes: list[Change] = []
    files = _accept_timing(runs, folder, key, changes) | _accept_curves(runs, folder, changes)
    if not files:
        raise InputError("the run holds no measurement to accept; measure again")
    return changes, files


def write(files: dict[Path, str]) -> None:
    """Put accepted files where they belong."""
    for path, text in files.items():
        make_folder(path.parent)
        write_atomically(path, text)


def _accept_timing(runs: list[Run], folder: Path, key: MachineKey, changes: list[Change]) -> dict[Path, str]:
    new: dict[str, TimingReference] = {}
    for run in runs:
        for result in run.cases:
            if result.undisturbed and result.id not in new:
                new[result.id] = timing_reference(result, runs)
    if not new:
        return {}
    stored = _read_timing(folder, key)
    cases = {one.id: one for one in stored.cases} if stored else {}
    for name, one in new.items():
        launches = sum(map(len, one.runs))
        what = f"{'replaced' if name in cases else 'new'}: {len(one.runs)} runs, {launches} launches"
        changes.append(Change(name, "timing", what))
    file = TimingFile(schema=SCHEMA, machine=key, origin=_origin(runs[-1]), cases=tuple((cases | new).values()))
    plain = file.model_dump(mode="json", by_alias=True)
    lines = ",\n".join("  " + json.dumps(case) for case in plain.pop("cases"))
    head = json.dumps(plain, indent=1).removesuffix("\n}")
    return {_timing_path(folder, key): f'{head},\n "cases": [\n{lines}\n ]\n}}\n'}


def _accept_curves(runs: list[Run], folder: Path, changes: list[Change]) -> dict[Path, str]:
    new: dict[str, CurveReference] = {}
    sources: dict[str, Run] = {}
    for run in runs:
        for result in run.cases:
            if len(result.curves) > len(new[result.id].curves if result.id in new else ()):
                new[result.id], sources[result.id] = curve_reference(result), run
    files = {}
    for workload in sorted({_workload(name) for name in new}):
        path = _curve_path(folder, workload)
        lines = dict(_lines_by_case(path))
        for name, one in new.items():
            if _workload(name) != workload:
                continue
            old = {line.curve.seed: line for line in lines.get(name, [])}
            same_version = all(line.version == one.version for line in old.values())
            if same_version and all(curve.seed in old and old[curve.seed].curve == curve for curve in one.curves):
                changes.append(Change(name, "convergence", "unchanged"))
                continue
            if same_version and len(one.curves) < len(old):
                raise InputError(
                    f"{name}: the run has {len(one.curves)} seeds, the baseline {len(old)}; "
                    "accept a run of --profile full"
                )
            changes.append(Change(name, "convergence", f"{'replaced' if old else 'new'}: {len(one.curves)} seeds"))
            lines[name] = [_curve_line(one, curve, sources[name]) for curve in one.curves]
        text = "".join(line.model_dump_json(by_alias=True) + "\n" for one in lines.values() for line in one)
        files[path] = text
    return files


def _curve_line(one: CurveReference, curve: Curve, run: Run) -> CurveLine:
    return CurveLine(
        schema=SCHEMA,
        id=one.id,
        version=one.version,
        profiles=one.profiles,
        device=run.device.partition(":")[0],
        torch=run.environment.packages.get("torch", "unknown"),
        curve=curve,
    )


def _origin(run: Run) -> Origin:
    environment = run.environment
    return Origin(
        bnsuite=run.bnsuite,
        revision=run.revision,
        started=run.started,
        python=environment.python,
        packages=environment.packages,
        cuda=environment.cuda,
        cudnn=environment.cudnn,
    )


def _read_timing(folder: Path, key: MachineKey) -> TimingFile | None:
    path = _timing_path(folder, key)
    if not path.exists():
        return None
    file = parse(TimingFile, read_text(path, "timing baseline"), path)
    apart = differences(file.machine, key)
    if apart:
        raise InputError(
            f"{path}: belongs to another machine ({'; '.join(apart)}); restore it, or accept a run of this machine"
        )
    return file


def _nearest(folder: Path, key: MachineKey) -> str:
    """Why there is no timing baseline: none at all, or none for this machine."""
    machines = [
        parse(TimingFile, read_text(path, "timing baseline"), path).machine
        for path in sorted((folder / "timing").glob("*.json"))
    ]
    if not machines:
        return f"{folder}/timing holds no baseline; make one with `bnsuite accept`"
    nearest = min((differences(machine, key) for machine in machines), key=len)
    return f"no baseline for this machine (the nearest has {'; '.join(nearest)}); make one with `bnsuite accept`"


def _read_curves(folder: Path) -> dict[str, CurveReference]:
    found = {}
    for path in sorted((folder / "convergence").glob("*.jsonl")):
        for name, lines in _lines_by_case(path):
            first = lines[0]
            found[name] = CurveReference(
                id=name, version=first.version, profiles=first.profiles, curves=tuple(line.curve for line in lines)
            )
    return found


def _lines_by_case(path: Path) -> Iterable[tuple[str, list[CurveLine]]]:
    if not path.exists():
        return []
    text = read_text(path, "convergence baseline")
    if not text.strip():
        raise InputError(f"{path}: the file is empty; restore it, or remove it and accept a run")
    by_case: dict[str, list[CurveLine]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            raw = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: not JSON, or cut off: {error}; restore it") from error
        one = from_plain(CurveLine, raw, path)
        by_case.setdefault(one.id, []).append(one)
    return by_case.items()


def _workload(case: str) -> str:
    """The workload of a training's id, ``train/<workload>/...``."""
    return case.split("/")[1]


def _timing_path(folder: Path, key: MachineKey) -> Path:
    return folder / "timing" / f"{key.name}.json"


def _curve_path(folder: Path, workload: str) -> Path:
    return folder / "convergence" / f"{workload}.jsonl"
