"""The outer half's end of a worker process."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter

from bnsuite.launch import quiet
from bnsuite.launch.child import Child, ChildError, SilentError
from bnsuite.launch.messages import Started, understand
from bnsuite.record.errors import NotMeasuredError

T = TypeVar("T")

#: What starting Python and torch may take on a cold machine.
START_UP_S = 180.0


class RequestFailedError(NotMeasuredError):
    """The request raised inside the worker; the message is the exception in one line."""


class _Answer(BaseModel, Generic[T]):
    model_config = ConfigDict(strict=True, extra="forbid")

    done: T | None = None
    failed: str | None = None


class Worker:
    """A worker in this interpreter's environment, started by its first request and again after a failed one.

    With `torch_first` it imports torch as it starts, outside the time limit of any request.
    """

    def __init__(
        self,
        scratch: Path,
        name: str,
        *,
        threads: int,
        stage: Path,
        cores: list[int],
        torch_first: bool,
        implementation: str | None,
    ) -> None:
        self._log, self._scratch, self._torch_first = scratch / f"{name}.txt", scratch, torch_first
        self._environment = quiet.environment(
            threads, scratch, implementation, BNSUITE_STAGE=str(stage), **quiet.taking(cores)
        )
        self._child: Child | None = None
        self._closed = False
        self._lock = threading.Lock()

    def ask(self, request: dict[str, Any], kind: type[T], timeout_s: float) -> T:
        """The answer to `request`, as a `kind`.

        Raises RequestFailedError if it raised in the worker, and ChildError if the worker died, hung or answered
        nonsense. Either way the process is ended: after an error its GPU context may be worth nothing.
        """
        try:
            if self._child is None:
                child = self._start()
                if self._torch_first:
                    self._exchange(child, {"do": "start"}, Started, START_UP_S)
            assert self._child is not None
            return self._exchange(self._child, request, kind, timeout_s)
        except SilentError:
            self.end()
            raise ChildError(f"no answer after {timeout_s:g} s, the limit that --timeout sets") from None
        except NotMeasuredError:
            self.end()
            raise

    def close(self) -> None:
        """End the process for good, from whichever thread; a request under way raises ChildError."""
        with self._lock:
            self._closed = True
            if self._child is not None:
                self._child.kill()

    def end(self) -> None:
        """End the process, if one runs."""
        with self._lock:
            if self._child is not None:
                self._child.end()
                self._child = None

    def _start(self) -> Child:
        with self._lock:
            if self._closed:
                raise ChildError("the run is over")
            self._child = Child(
                [sys.executable, "-m", "bnsuite.measure.worker"],
                environment=self._environment,
                folder=self._scratch,
                log=self._log,
                own_pipe=False,
            )
            return self._child

    @staticmethod
    def _exchange(child: Child, request: dict[str, Any], kind: type[T], timeout_s: float) -> T:
        child.send(json.dumps(request))
        line = child.receive(timeout_s)
        if line is None:
            raise ChildError(child.last_words())
        answer: _Answer[T] = understand(line, TypeAdapter(_Answer[kind]))  # type: ignore[valid-type]  # made at run time
        if answer.done is None:
            raise RequestFailedError(answer.failed or "no reason given")
        return answer.done
