"""What every place has in common where a worker can be started."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bnsuite.record.schema import EnvironmentInfo

#: What runs in every place; the inner half of this package is put before it.
MODULE = "bnsuite.measure.worker"

#: The inner half is written for this release of torch and for newer ones.
MIN_TORCH = (2, 4)


class WorkerProcess(Protocol):
    """A worker process that was started, wherever it runs."""

    def send(self, line: str) -> None:
        """Give it one line; ChildError if it is gone."""

    def receive(self, timeout_s: float) -> str | None:
        """Its next message, or None when it has ended; SilentError if none comes in time."""

    def exit_reason(self) -> str:
        """How it ended, in one line."""

    def kill(self) -> None:
        """Kill it with all it started, from whichever thread; whoever is listening hears it end."""

    def end(self) -> None:
        """Kill it and let go of it; never raises, and does nothing the second time."""


@dataclass(frozen=True)
class WorkerOptions:
    """How one worker process is to be started."""

    #: Names its log in `scratch`.
    label: str
    #: Holds logs, and what processes of this machine leave in their TMPDIR.
    scratch: Path
    #: The data sets, made by the coordinator: all places see the same bytes.
    stage: Path
    threads: int
    #: The cores to stay on; none: all that this process may use.
    cores: tuple[int, ...]
    #: "cpu", "cuda", "cuda:N" or "auto": whether an image is given the GPUs.
    device: str
    #: What is judged instead of torch's own layers, as ``module:factory`` or ``/a/file.py:factory``.
    implementation: str | None
    #: Whether large tensors are backed by huge pages (see ``quiet.huge_pages``).
    huge_pages: bool = False


class Environment(ABC):
    """A place where workers can be started."""

    def __init__(self, name: str) -> None:
        #: What the user wrote.
        self.name = name
        #: Hears, in a few words, of what takes minutes.
        self.tell: Callable[[str], None] = lambda _: None
        #: What to do where nothing starts in it; empty where that is the user's affair.
        self.hint = ""

    @abstractmethod
    def prepare(self) -> None:
        """Make sure that it is there.

        InputError, which names the place, the cause and the hint in one line, if it can't be had.
        """

    def check(self, environment: EnvironmentInfo) -> None:  # noqa: ARG002  # any is what it is, by default
        """Make sure that what was found there is what it names; InputError if it is something else."""
        return

    @abstractmethod
    def start(self, how: WorkerOptions, token: str) -> WorkerProcess:
        """A new worker process whose messages carry `token`; InputError if none can be started there."""

    def close(self) -> None:
        """End the workers that still run, where they are not processes of this machine; never raises."""
        return
