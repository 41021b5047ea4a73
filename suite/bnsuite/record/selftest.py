"""The trials of a selftest, a line each, appended as they end: an interrupted selftest goes on where it stopped.

Files of several selftests can be put together by appending one to another.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from bnsuite.record.errors import WriteError
from bnsuite.record.files import exists, read_text
from bnsuite.record.folder import SELFTEST
from bnsuite.record.migrations import Migration, without
from bnsuite.record.schema import EnvironmentInfo, Value, Versioned
from bnsuite.record.store import parse


class Where(Value):
    """The conditions that trials must share to be counted together: machine, its use, and the way of deciding."""

    device: str
    machine: str
    torch: str
    #: The number of the way of timing and deciding (see ``judge/interleaved.py``); 0 is any before they were numbered.
    method: Annotated[int, Field(ge=0)]
    profile: str
    threads: Annotated[int, Field(ge=1)]
    #: Whether a process of ours worked on another core all the while.
    busy: bool
    #: The user's own workloads that were compared, as files and names; none for the built-in cases.
    workloads: tuple[str, ...] = ()


class Seen(Value):
    """One finding: what one gate said of one case, without its words."""

    case: str
    gate: str
    verdict: str
    change: float | None = None
    low: float | None = None
    high: float | None = None


class Values(Value):
    """One case's launches: the value of each (log scale), in order; None for one that was disturbed."""

    case: str
    screen: tuple[float | None, ...]
    confirm: tuple[float | None, ...]


#: The digests of source by which schema 1 told methods apart, and their numbers.
METHODS = {"d8fe1528e5d2": 1}


def _number_methods(trial: dict[str, Any]) -> dict[str, Any]:
    """From 1 to 2: a method was told by a digest of source, and faults were called planted."""
    where = {**trial["where"], "method": METHODS.get(trial["where"]["method"], 0)}
    return {**without(trial, "plant"), "schema": 2, "where": where, "injected": trial["plant"]}


class Trial(Versioned):
    """One comparison of the suite with itself, or with a fault of its own.

    History of the schema: 1 is the first. 2, in 0.4.0, numbers the methods and has ``injected`` for ``plant``.
    """

    SCHEMA: ClassVar[int] = 2
    MIGRATIONS: ClassVar[dict[int, Migration]] = {1: _number_methods}

    kind: str
    #: Which of its kind: a case, say, or the name of a fault.
    variant: str
    #: The cases, as -k names them; None for all of the profile that are timed.
    select: str | None
    #: The fault injected into B's steps, and the implementation that replaced torch's batch norm there.
    injected: dict[str, float]
    implementation: str | None
    #: The gate that is meant to find it; None where nothing is wrong.
    gate: str | None
    seed: int
    most_launches: Annotated[int, Field(ge=1)]
    where: Where
    started: str
    bnsuite: str
    revision: str | None
    python: str
    wall_s: Annotated[float, Field(ge=0)]
    #: The most launches that a case had.
    launches: Annotated[int, Field(ge=0)]
    findings: tuple[Seen, ...]
    #: Of every case that was timed, controls included.
    values: tuple[Values, ...]

    @property
    def cases(self) -> int:
        """The number of cases that were judged."""
        return len({one.case for one in self.findings})


def machine_of(environment: EnvironmentInfo) -> str:
    """The GPU or the processor, as a person recognises it."""
    gpu = environment.gpu
    return gpu.name if gpu else f"{environment.cpu}, {environment.cores_given} cores given"


def append(trial: Trial, folder: Path) -> None:
    """Add a line to the file in `folder`; InputError if it can't be written."""
    path = folder / SELFTEST
    try:
        with path.open("ab") as file:
            file.write(trial.model_dump_json(by_alias=True).encode() + b"\n")
    except OSError as error:
        raise WriteError(
            f"{path}: cannot be written: {error.strerror}; free some space, or choose another folder with --out"
        ) from error


def load(folder: Path) -> list[Trial]:
    """All trials in `folder`, none where there is no file yet; InputError for a line that can't be used.

    A last line without its end is what a crash left of a trial; it is no trial.
    """
    path = folder / SELFTEST
    if not exists(path):
        return []
    lines = read_text(path, "selftest").split("\n")
    return [parse(Trial, line, path, f", line {number}") for number, line in enumerate(lines[:-1], start=1)]


def repair(folder: Path) -> None:
    """Take away what a crash left of a last line, so that the next one begins at its own."""
    path = folder / SELFTEST
    if not exists(path):
        return
    text = read_text(path, "selftest")
    if text and not text.endswith("\n"):
        with path.open("r+b") as file:
            file.truncate(len(text[: text.rfind("\n") + 1].encode()))
