"""References that are a line a case: memory, and what checks saw.

``memory/<device>.jsonl`` belongs to a model of GPU, or to every CPU with as many threads: bytes in torch's allocator
are exact. ``checks/<cpu or cuda>.jsonl`` is portable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from typing_extensions import Self

from bnsuite.record.files import read_text
from bnsuite.record.migrations import Migration
from bnsuite.record.renames import current_id
from bnsuite.record.schema import CHECK_GATES, Bytes, CaseResult, Run, Status, Versioned
from bnsuite.record.store import parse


class Line(Versioned):
    """What was accepted of one case."""

    id: str
    version: int
    profiles: tuple[str, ...]
    torch: str

    def completed_by(self, other: Self) -> Self:  # noqa: ARG002  # what has one number lacks nothing
        """This line with what it lacks, and `other`, which passes against it, has."""
        return self


class MemoryLine(Line):
    """Bytes a step held at its peak. History of the schema: 1 is the first."""

    SCHEMA: ClassVar[int] = 1

    allocated_peak_bytes: int
    #: All that was used on the GPU after the step, where bnsuite was alone on it.
    gpu_used_bytes: Bytes | None = None

    def completed_by(self, other: Self) -> Self:
        """With what is used on the GPU, if that was not told before."""
        used = other.gpu_used_bytes if self.gpu_used_bytes is None else self.gpu_used_bytes
        return self.model_copy(update={"gpu_used_bytes": used})


class CheckLine(Line):
    """What a check saw, by the name of each observation that a baseline helps to judge.

    History of the schema: 1 is the first. 2, in 0.4.0, renames families of checks.
    """

    SCHEMA: ClassVar[int] = 2
    MIGRATIONS: ClassVar[dict[int, Migration]] = {
        1: lambda line: {**line, "schema": 2, "id": current_id(line["id"])},
    }

    observed: dict[str, float | str]

    def completed_by(self, other: Self) -> Self:
        """With the observations that are new."""
        return self.model_copy(update={"observed": {**other.observed, **self.observed}})


L = TypeVar("L", bound=Line)


@dataclass(frozen=True)
class Kind(Generic[L]):
    """One kind of reference: where it lies, whom it serves, and how it is made of a result."""

    folder: str
    gates: tuple[str, ...]
    line: type[L]
    stem: Callable[[Run], str]
    make: Callable[[Run, CaseResult], L | None]

    def path(self, baselines: Path, run: Run) -> Path:
        """The file for the device that `run` was measured on."""
        return baselines / self.folder / f"{self.stem(run)}.jsonl"

    def read(self, baselines: Path, run: Run) -> dict[str, L]:
        """What was accepted for the device of `run`, by case; InputError for a file that can't be used."""
        path = self.path(baselines, run)
        if not path.exists():
            return {}
        lines = read_text(path, f"{self.folder} baseline").splitlines() or [""]
        found = [parse(self.line, line, path, f", line {number}") for number, line in enumerate(lines, start=1)]
        return {one.id: one for one in found}

    def of_run(self, run: Run) -> dict[str, L]:
        """What `run` would have accepted."""
        made = [self.make(run, result) for result in run.cases if self.measured(result)]
        return {one.id: one for one in made if one is not None}

    def measured(self, result: CaseResult) -> bool:
        """Whether any of the gates has something to go by."""
        return any(gate in result.outcomes and result.outcomes[gate].status is Status.MEASURED for gate in self.gates)

    def accept(
        self, runs: Iterable[tuple[Run, Collection[str]]], baselines: Path
    ) -> tuple[dict[str, str], dict[Path, str]]:
        """What becomes of each case, and the texts of the files to write.

        A run comes with the cases of it that pass against what was accepted, which stays, and gets what it lacks. Of
        several runs that measured a case the last one counts.
        """
        said: dict[str, str] = {}
        before: dict[Path, dict[str, L]] = {}
        after: dict[Path, dict[str, L]] = {}
        for run, passing in runs:
            path = self.path(baselines, run)
            if path not in before:
                before[path] = self.read(baselines, run)
                after[path] = dict(before[path])
            stored = before[path]
            for name, line in self.of_run(run).items():
                said[name], after[path][name] = self._outcome(stored.get(name), line, passes=name in passing)
        changed = {path: lines for path, lines in after.items() if lines != before[path]}
        return said, {
            path: "".join(one.model_dump_json(by_alias=True, exclude_none=True) + "\n" for one in lines.values())
            for path, lines in changed.items()
        }

    @staticmethod
    def _outcome(stored: L | None, line: L, *, passes: bool) -> tuple[str, L]:
        """What becomes of a case, in words, and its line from now on."""
        if stored is None:
            return "new", line
        if stored.version != line.version:
            return f"version {line.version} instead of {stored.version}", line
        if stored == line:
            return "unchanged", stored
        if not passes:
            return "replaced", line
        completed = stored.completed_by(line)
        lacked = " but for what it lacked" if completed != stored else ""
        return f"kept{lacked}: the run passes against it", completed


def torch_of(run: Run) -> str:
    """The version of torch that was measured."""
    return run.environment.packages.get("torch", "unknown")


def kind_of_device(run: Run) -> str:
    """Such as "cpu" or "cuda"."""
    return run.device.partition(":")[0]


def _memory_stem(run: Run) -> str:
    gpu = run.environment.gpu
    subject = gpu.name if gpu else f"cpu {run.environment.threads} threads"
    return re.sub(r"[^a-z0-9]+", "-", subject.lower()).strip("-")


def _memory_line(run: Run, result: CaseResult) -> MemoryLine | None:
    told = [one.memory.allocated_peak_bytes for one in result.timings]
    peaks = {peak for peak in told if peak is not None}
    alone = [one for one in result.timings if one.gpu is not None and one.gpu.foreign == 0]
    used = [one.memory.gpu_used_bytes for one in alone if one.memory.gpu_used_bytes is not None]
    (peak,) = peaks if len(peaks) == 1 else (None,)  # launches that disagree can't be a reference
    if peak is None:
        return None
    return MemoryLine(
        schema=MemoryLine.SCHEMA,
        id=result.id,
        version=result.case.version,
        profiles=result.case.profiles,
        torch=torch_of(run),
        allocated_peak_bytes=peak,
        gpu_used_bytes=max(used) if used else None,
    )


def _check_line(run: Run, result: CaseResult) -> CheckLine:
    return CheckLine(
        schema=CheckLine.SCHEMA,
        id=result.id,
        version=result.case.version,
        profiles=result.case.profiles,
        torch=torch_of(run),
        # What is expected needs no baseline, and drift is told by far less than six digits.
        observed={
            one.what: one.value if isinstance(one.value, str) else float(f"{one.value:.6g}")
            for one in result.observations
            if one.expected is None
        },
    )


MEMORY = Kind("memory", ("memory",), MemoryLine, _memory_stem, _memory_line)
CHECKS = Kind("checks", CHECK_GATES, CheckLine, kind_of_device, _check_line)
