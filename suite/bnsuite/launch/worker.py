"""The outer half's end of a worker process."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter

from bnsuite.launch import quiet
from bnsuite.launch.child import Child, ChildError, SilentError
from bnsuite.launch.messages import understand

T = TypeVar("T")


class RequestFailedError(Exception):
    """The request raised inside the worker, which lives on; the message is the exception in one line."""


class _Answer(BaseModel, Generic[T]):
    model_config = ConfigDict(strict=True, extra="forbid")

    done: T | None = None
    failed: str | None = None


class Worker:
    """A worker in this interpreter's environment, started by its first request."""

    def __init__(
        self, scratch: Path, name: str, threads: int, stage: Path | None = None, core: int | None = None
    ) -> None:
        self._scratch, self._name, self._threads = scratch, name, threads
        self._more = {"BNSUITE_STAGE": str(stage)} if stage else {}
        if core is not None:
            self._more["BNSUITE_CORES"] = str(core)
        self._child: Child | None = None

    def ask(self, request: dict[str, Any], kind: type[T], timeout_s: float) -> T:
        """The answer to `request`, as a `kind`.

        Raises RequestFailedError if it raised in the worker, and ChildError if the worker died, hung or answered
        nonsense; the next request then starts a new one.
        """
        if self._child is None:
            self._child = Child(
                [sys.executable, "-m", "bnsuite.measure.worker"],
                environment=quiet.environment(self._threads, **self._more),
                folder=self._scratch,
                log=self._scratch / f"{self._name}.txt",
                own_pipe=False,
            )
        try:
            self._child.send(json.dumps(request))
            line = self._child.receive(timeout_s)
            if line is None:
                raise ChildError(self._child.last_words())
            answer: _Answer[T] = understand(line, TypeAdapter(_Answer[kind]))  # type: ignore[valid-type]  # made at run time
        except SilentError:
            self.end()
            raise ChildError(f"no answer after {timeout_s:g} s, the limit that --timeout sets") from None
        except ChildError:
            self.end()
            raise
        if answer.done is None:
            raise RequestFailedError(answer.failed or "no reason given")
        return answer.done

    def kill(self) -> None:
        """End the process from another thread than the one that asks; a request under way raises ChildError."""
        child = self._child
        if child is not None:
            child.kill()

    def end(self) -> None:
        """End the process, if one runs."""
        if self._child is not None:
            self._child.end()
            self._child = None
