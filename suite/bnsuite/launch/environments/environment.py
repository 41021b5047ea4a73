"""The interface of an environment: a place where workers can be started."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from bnsuite.launch.process.options import WorkerOptions
from bnsuite.record.errors import InputError
from bnsuite.record.schema import EnvironmentInfo

#: The module that runs in every environment; the inner half of this package is put before it.
MODULE = "bnsuite.measure.worker"

#: The inner half is written for this release of torch and for newer ones.
MIN_TORCH = (2, 4)

#: Takes a few words for the user, about something that takes minutes.
Notify = Callable[[str], None]


class EnvironmentUnavailableError(InputError):
    """An environment that cannot be had, or cannot be measured.

    `environment` is its name as the user wrote it, `cause` is the reason with the fix, in one line.
    """

    def __init__(self, environment: str, cause: str) -> None:
        super().__init__(f"{environment}: {cause}")
        self.environment, self.cause = environment, cause


class WorkerProcess(Protocol):
    """A started worker process, wherever it runs."""

    def send(self, line: str) -> None:
        """Writes one line to it; ChildError if it is gone."""

    def receive(self, timeout_s: float) -> str | None:
        """Returns its next message, or None when it has ended; SilentError if none comes in time."""

    def exit_reason(self) -> str:
        """Returns how it ended, in one line."""

    def kill(self) -> None:
        """Kills it with all it started, from whichever thread; a receive under way returns None."""

    def end(self) -> None:
        """Kills it and closes what belongs to it; never raises, and does nothing the second time."""


class Environment(ABC):
    """A place where workers can be started, by the name that the user wrote."""

    #: Whether its worker processes share this interpreter's packages: pytest items can be run instead.
    has_pytest = False
    #: Whether another program hands it the GPUs, which may then have other numbers than on this machine.
    devices_apart = False

    def __init__(self, name: str) -> None:
        self.name = name
        #: What to do if nothing starts in it; empty if only the user can know.
        self.hint = ""

    def unavailable(self, cause: str) -> EnvironmentUnavailableError:
        """Returns the error that says why this environment cannot be had."""
        return EnvironmentUnavailableError(self.name, cause)

    @abstractmethod
    def prepare(self, notify: Notify = lambda _: None) -> None:
        """Makes sure that it is there, as often as it is called; `notify` hears of what takes minutes.

        Raises EnvironmentUnavailableError.
        """

    def check(self, info: EnvironmentInfo) -> None:  # noqa: ARG002  # any is what it is, by default
        """Raises EnvironmentUnavailableError if the environment found is not the one that its name says."""
        return

    def described(self, info: EnvironmentInfo) -> EnvironmentInfo:
        """Returns `info` with what is known of the environment from outside only, such as its image."""
        return info

    @abstractmethod
    def start(self, options: WorkerOptions, token: str) -> WorkerProcess:
        """Returns a new worker process whose messages carry `token`; EnvironmentUnavailableError if none starts."""

    def close(self) -> None:
        """Ends the workers that still run, if they are no processes of this machine; never raises."""
        return
