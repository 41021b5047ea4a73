"""The description of one step of the check, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PENDING, RUNNING, OK, FOUND, FAILED, SKIPPED, CUT_OFF = (
    "pending",
    "running",
    "ok",
    "found something",
    "failed",
    "skipped",
    "cut off",
)

#: Exit statuses of bnsuite, as states of a step: a regression is a result, not a failure of the check.
BNSUITE = {0: OK, 1: FOUND, 3: FOUND}
BNSUITE_WORDS = {1: "at least one REGRESSED", 2: "unusable input", 3: "not everything was measured as asked"}


@dataclass(frozen=True)
class Request:
    """The check as it was asked for: the device, the folder of results, and seconds for all of it."""

    device: str
    folder: Path
    seconds: float

    @property
    def on_gpu(self) -> bool:
        """True unless it is rehearsed on a CPU."""
        return self.device != "cpu"


class NothingToDoError(Exception):
    """A step that has nothing to do here; the message says why."""


@dataclass(frozen=True)
class Step:
    """One step: a command, made when its turn comes from the request and the seconds it may take."""

    name: str
    title: str
    #: The part of the time that it has, beside the parts of those after it; a step that ends early leaves its rest.
    share: float
    command: Callable[[Request, float], list[str]]
    #: States by exit status; any other is a failure.
    states: Mapping[int, str] = field(default_factory=lambda: {0: OK})
    words: Mapping[int, str] = field(default_factory=dict)
    #: Whether it has `share` seconds, whatever there is for the others, which make no sense if it fails.
    fixed: bool = False


@dataclass
class Outcome:
    """What became of a step, as ``summary.json`` has it."""

    name: str
    title: str
    state: str = PENDING
    #: Why it was skipped, or what its exit status means.
    reason: str | None = None
    command: list[str] | None = None
    limit_s: float | None = None
    seconds: float | None = None
    status: int | None = None
    #: The last line that it printed, and the file with all of them.
    last_line: str | None = None
    log: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain JSON."""
        return asdict(self)
