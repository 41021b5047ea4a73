"""The outer half's end of a worker process."""

from __future__ import annotations

import json
import secrets
import threading
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter

from bnsuite.launch.environments import Environment, WorkerProcess
from bnsuite.launch.process.child import ChildError, SilentError
from bnsuite.launch.process.messages import Reason, StartAnswer, parse_message
from bnsuite.launch.process.options import WorkerOptions
from bnsuite.record.errors import InputError, NotMeasuredError

T = TypeVar("T")

#: The most that starting Python and torch may take on a cold machine, or answering without measuring anything.
START_UP_S = 180.0

#: The names of limits, for the message of a request that exceeds one.
TIMEOUT = "the limit that --timeout sets"
START_UP = "the limit for starting"


class RequestFailedError(NotMeasuredError):
    """The request raised inside the worker; the message is the exception in one line."""


class _Answer(BaseModel, Generic[T]):
    model_config = ConfigDict(strict=True, extra="forbid")

    done: T | None = None
    failed: Reason | None = None


class Worker:
    """A worker process in an environment: started by its first request, and again after a failure."""

    def __init__(self, options: WorkerOptions, environment: Environment) -> None:
        self.options, self.environment = options, environment
        self._process: WorkerProcess | None = None
        self._started_once = self._closed = False
        self._lock = threading.Lock()

    def ask(self, request: dict[str, Any], kind: type[T], timeout_s: float, limit: str = TIMEOUT) -> T:
        """Returns the answer to `request`, as a `kind`, within `timeout_s`; `limit` names it in the message.

        Raises RequestFailedError if it raised in the worker, ChildError if the worker died, hung or answered
        nonsense, or can't be started again, and InputError if its environment can't start even the first. In any case
        the process is ended: after an error its GPU context may be worth nothing. So it is after an answer that calls
        it unfit.
        """
        try:
            process = self._process
            if process is None:
                process = self._start()
                if self.options.torch_first:
                    self._exchange(process, {"do": "start"}, StartAnswer, START_UP_S, f"{START_UP} torch")
            answer = self._exchange(process, request, kind, timeout_s, limit)
        except NotMeasuredError:
            self.end()
            raise
        if getattr(answer, "unfit", None) is not None:
            self.end()
        return answer

    def close(self) -> None:
        """Ends the process for good, from whichever thread; a request under way raises ChildError."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    @property
    def running(self) -> bool:
        """True if the next request needs no new process."""
        return self._process is not None

    @property
    def closed(self) -> bool:
        """True once it was ended for good."""
        return self._closed

    def end(self) -> None:
        """Ends the process, if one runs."""
        with self._lock:
            if self._process is not None:
                self._process.end()
                self._process = None

    def _start(self) -> WorkerProcess:
        with self._lock:
            if self._closed:
                raise ChildError("the run is over")
            try:
                self._process = self.environment.start(self.options, secrets.token_hex(8))
            except InputError as error:
                if self._started_once:  # it is no longer what it was
                    raise ChildError(str(error)) from error
                raise
            self._started_once = True
            return self._process

    @staticmethod
    def _exchange(process: WorkerProcess, request: dict[str, Any], kind: type[T], timeout_s: float, limit: str) -> T:
        process.send(json.dumps(request))
        try:
            line = process.receive(timeout_s)
        except SilentError:
            raise SilentError(f"no answer after {timeout_s:g} s, {limit}") from None
        if line is None:
            raise ChildError(process.exit_reason())
        answer: _Answer[T] = parse_message(line, TypeAdapter(_Answer[kind]))  # type: ignore[valid-type]  # made at run time
        if answer.done is None:
            raise RequestFailedError(answer.failed or "no reason given")
        return answer.done
