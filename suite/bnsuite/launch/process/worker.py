"""The outer half's end of a worker process."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter

from bnsuite.launch.environments import Environment, Here, WorkerOptions, WorkerProcess
from bnsuite.launch.process.child import ChildError, SilentError
from bnsuite.launch.process.messages import StartAnswer, understand
from bnsuite.record.errors import InputError, NotMeasuredError

T = TypeVar("T")

#: What starting Python and torch may take on a cold machine.
START_UP_S = 180.0

#: The limit of a request, where nothing else is said.
TIMEOUT = "the limit that --timeout sets"


class RequestFailedError(NotMeasuredError):
    """The request raised inside the worker; the message is the exception in one line."""


class _Answer(BaseModel, Generic[T]):
    model_config = ConfigDict(strict=True, extra="forbid")

    done: T | None = None
    failed: str | None = None


class Worker:
    """A worker in an environment, this interpreter's by default: started by its first request, again after a failure.

    With `torch_first` it imports torch as it starts, outside the time limit of any request. The other arguments are
    those of `WorkerOptions`.
    """

    def __init__(
        self,
        scratch: Path,
        name: str,
        *,
        threads: int,
        stage: Path,
        cores: Sequence[int],
        torch_first: bool,
        implementation: str | None,
        site: Environment | None = None,
        device: str = "cpu",
        huge_pages: bool = False,
    ) -> None:
        self._site, self._torch_first = site or Here(), torch_first
        self._how = WorkerOptions(
            label=name,
            scratch=scratch,
            stage=stage,
            threads=threads,
            cores=tuple(cores),
            device=device,
            implementation=implementation,
            huge_pages=huge_pages,
        )
        self._link: WorkerProcess | None = None
        self._began = self._closed = False
        self._lock = threading.Lock()

    def ask(self, request: dict[str, Any], kind: type[T], timeout_s: float, limit: str = TIMEOUT) -> T:
        """The answer to `request`, as a `kind`, within `timeout_s`, which `limit` names where it is passed.

        Raises RequestFailedError if it raised in the worker, ChildError if the worker died, hung or answered
        nonsense, or can't be started again, and InputError if its environment can't start even the first. In any case
        the process is ended: after an error its GPU context may be worth nothing.
        """
        try:
            if self._link is None:
                link = self._start()
                if self._torch_first:
                    self._exchange(link, {"do": "start"}, StartAnswer, START_UP_S, "the limit for starting torch")
            assert self._link is not None
            return self._exchange(self._link, request, kind, timeout_s, limit)
        except NotMeasuredError:
            self.end()
            raise

    def close(self) -> None:
        """End the process for good, from whichever thread; a request under way raises ChildError."""
        with self._lock:
            self._closed = True
            if self._link is not None:
                self._link.kill()

    def end(self) -> None:
        """End the process, if one runs."""
        with self._lock:
            if self._link is not None:
                self._link.end()
                self._link = None

    def _start(self) -> WorkerProcess:
        with self._lock:
            if self._closed:
                raise ChildError("the run is over")
            try:
                self._link = self._site.start(self._how, secrets.token_hex(8))
            except InputError as error:
                if self._began:  # it is no longer what it was
                    raise ChildError(str(error)) from error
                raise
            self._began = True
            return self._link

    @staticmethod
    def _exchange(link: WorkerProcess, request: dict[str, Any], kind: type[T], timeout_s: float, limit: str) -> T:
        link.send(json.dumps(request))
        try:
            line = link.receive(timeout_s)
        except SilentError:
            raise ChildError(f"no answer after {timeout_s:g} s, {limit}") from None
        if line is None:
            raise ChildError(link.exit_reason())
        answer: _Answer[T] = understand(line, TypeAdapter(_Answer[kind]))  # type: ignore[valid-type]  # made at run time
        if answer.done is None:
            raise RequestFailedError(answer.failed or "no reason given")
        return answer.done
