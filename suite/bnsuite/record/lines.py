"""References that are one line per case: memory, and the observations of checks.

``memory/<device>.jsonl`` belongs to a model of GPU, or to every CPU with as many threads: bytes in torch's allocator
are exact. ``checks/<cpu or cuda>.jsonl`` is portable. ``kernels/<device>.jsonl`` belongs to a model of GPU, or to every
CPU: operators are the same on all that were looked at, and each line says on what it was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from typing_extensions import Self

from bnsuite.record.files import read_lines
from bnsuite.record.key import slug
from bnsuite.record.launched import LaunchedKernels
from bnsuite.record.migrations import Migration
from bnsuite.record.quantities import Bytes
from bnsuite.record.renames import with_gate
from bnsuite.record.schema import CHECK_GATES, CaseResult, Run, Status, Versioned
from bnsuite.record.store import parse


class Line(Versioned):
    """One accepted case."""

    id: str
    version: int
    profiles: tuple[str, ...]
    torch: str

    def completed_by(self, other: Self) -> Self:  # noqa: ARG002  # a line of one number lacks nothing
        """Returns this line with what it lacks and `other`, which passes against it, has."""
        return self


class MemoryLine(Line):
    """The bytes that a step held at its peak. History of the schema: 1 is the first."""

    SCHEMA: ClassVar[int] = 1

    allocated_peak_bytes: int
    #: All that was used on the GPU after the step, where bnsuite was alone on it.
    gpu_used_bytes: Bytes | None = None

    def completed_by(self, other: Self) -> Self:
        """Returns the line with the bytes in use on the GPU, if it has none."""
        used = other.gpu_used_bytes if self.gpu_used_bytes is None else self.gpu_used_bytes
        return self.model_copy(update={"gpu_used_bytes": used})


class CheckLine(Line):
    """The observations of a check that a baseline helps to judge, by name.

    History of the schema: 1 is the first. 2, in 0.4.0, renames families of checks and names the gate.
    """

    SCHEMA: ClassVar[int] = 2
    MIGRATIONS: ClassVar[dict[int, Migration]] = {1: with_gate}

    #: The gate that judges it.
    gate: str
    observed: dict[str, float | str]

    def completed_by(self, other: Self) -> Self:
        """Returns the line with the observations that are new."""
        return self.model_copy(update={"observed": {**other.observed, **self.observed}})


class KernelLine(Line):
    """What a step launched. History of the schema: 1 is the first."""

    SCHEMA: ClassVar[int] = 1

    kernels: LaunchedKernels
    #: What may choose other kernels, by name, as it was; with the release of torch it explains a change.
    conditions: dict[str, str]

    def completed_by(self, other: Self) -> Self:
        """Returns `other`, which launches the same: from now on it is known to under its conditions."""
        return other


L = TypeVar("L", bound=Line)


@dataclass(frozen=True)
class Kind(Generic[L]):
    """One kind of reference: its files, its gates, and how it is made from a result."""

    #: Also the folder that its files lie in, and what `bnsuite accept --only` calls it.
    name: str
    gates: tuple[str, ...]
    line: type[L]
    stem: Callable[[Run], str]
    make: Callable[[Run, CaseResult], L | None]
    #: It holds on every machine with the same kind of device, not only on machines of one kind.
    portable: bool = False

    def lines_of(self, lines: Mapping[str, Mapping[str, Line]]) -> dict[str, L]:
        """Returns the lines of this kind, by case, among those of all kinds."""
        return {name: one for name, one in lines.get(self.name, {}).items() if isinstance(one, self.line)}

    def path(self, baselines: Path, run: Run) -> Path:
        """Returns the file for the device that `run` was measured on."""
        return baselines / self.name / f"{self.stem(run)}.jsonl"

    def read(self, baselines: Path, run: Run) -> dict[str, L]:
        """Returns the accepted lines for the device of `run`, by case; raises InputError for an unusable file."""
        path = self.path(baselines, run)
        if not path.exists():
            return {}
        lines = read_lines(path, f"{self.name} baseline")
        found = [parse(self.line, line, path, f", line {number}") for number, line in enumerate(lines, start=1)]
        return {one.id: one for one in found}

    def of_run(self, run: Run) -> dict[str, L]:
        """Returns the lines that accepting `run` would make, by case."""
        made = [self.make(run, result) for result in run.cases if self.measured(result)]
        return {one.id: one for one in made if one is not None}

    def measured(self, result: CaseResult) -> bool:
        """Returns if any of the gates has a measurement."""
        return any(gate in result.outcomes and result.outcomes[gate].status is Status.MEASURED for gate in self.gates)

    def accept(
        self, runs: Iterable[tuple[Run, Collection[str]]], baselines: Path
    ) -> tuple[dict[str, str], dict[Path, str]]:
        """Returns the change of each case, and the texts of the files to write.

        A run comes with its cases that pass against the accepted line, which stays and gets what it lacks. Of several
        runs that measured a case the last one counts.
        """
        changes: dict[str, str] = {}
        before: dict[Path, dict[str, L]] = {}
        after: dict[Path, dict[str, L]] = {}
        for run, passing in runs:
            path = self.path(baselines, run)
            if path not in before:
                before[path] = self.read(baselines, run)
                after[path] = dict(before[path])
            stored = before[path]
            for name, line in self.of_run(run).items():
                changes[name], after[path][name] = self._outcome(stored.get(name), line, passes=name in passing)
        changed = {path: lines for path, lines in after.items() if lines != before[path]}
        return changes, {
            path: "".join(one.model_dump_json(by_alias=True, exclude_none=True) + "\n" for one in lines.values())
            for path, lines in changed.items()
        }

    @staticmethod
    def _outcome(stored: L | None, line: L, *, passes: bool) -> tuple[str, L]:
        """Returns the change of a case in words, and its new line."""
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
    """Returns the version of torch that was measured."""
    return run.environment.packages.get("torch", "unknown")


def kind_of_device(run: Run) -> str:
    """Returns the kind of a run's device, such as "cpu" or "cuda"."""
    return run.device.partition(":")[0]


def _memory_stem(run: Run) -> str:
    gpu = run.environment.gpu
    subject = gpu.name if gpu else f"cpu {run.environment.threads} threads"
    return slug(subject)


def _memory_line(run: Run, result: CaseResult) -> MemoryLine | None:
    known = [one.memory.allocated_peak_bytes for one in result.timings]
    peaks = {peak for peak in known if peak is not None}
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
        gate=next(gate for gate in result.outcomes if gate in CHECK_GATES),
        # An expected word needs no baseline, and six digits are more than enough to detect drift.
        observed={
            one.what: one.value if isinstance(one.value, str) else float(f"{one.value:.6g}")
            for one in result.observations
            if one.expected is None
        },
    )


def conditions_of(run: Run) -> dict[str, str]:
    """Returns what else than torch's version may choose other kernels in `run`, by name; without what is unknown."""
    one = run.environment
    known: dict[str, object] = {"torch revision": one.torch_git, "batch norm": run.options.implementation}
    if run.device == "cpu":
        known |= {"system": one.system, "CPU capability": one.cpu_capability, "threads": one.threads}
    else:
        known |= {"GPU": one.gpu.name if one.gpu else None, "CUDA": one.cuda, "cuDNN": one.cudnn}
        known |= {"triton": one.packages.get("triton"), **one.flags}
    return {name: str(value) for name, value in known.items() if value is not None}


def _kernel_stem(run: Run) -> str:
    gpu = run.environment.gpu
    return slug(gpu.name) if gpu else kind_of_device(run)


def _kernel_line(run: Run, result: CaseResult) -> KernelLine | None:
    if result.kernels is None:
        return None
    return KernelLine(
        schema=KernelLine.SCHEMA,
        id=result.id,
        version=result.case.version,
        profiles=result.case.profiles,
        torch=torch_of(run),
        kernels=result.kernels,
        conditions=conditions_of(run),
    )


MEMORY = Kind("memory", ("memory",), MemoryLine, _memory_stem, _memory_line)
CHECKS = Kind("checks", CHECK_GATES, CheckLine, kind_of_device, _check_line, portable=True)
KERNELS = Kind("kernels", ("kernels",), KernelLine, _kernel_stem, _kernel_line, portable=True)

#: A new kind is a line here: it is then read, accepted, and part of every reference.
LINES: dict[str, Kind[Any]] = {kind.name: kind for kind in (MEMORY, CHECKS, KERNELS)}
