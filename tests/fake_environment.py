"""Twins of what is slow or far away: an environment whose workers answer from a script, in this process."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bnsuite.launch.environments import Environment, Notify, WorkerProcess
from bnsuite.launch.interleaved.sides import PairedSession, PreparedPair
from bnsuite.launch.process.options import WorkerOptions
from bnsuite.launch.process.stream import SilentError
from bnsuite.launch.progress import Progress, ProgressCounter
from bnsuite.launch.session import Session
from bnsuite.record.schema import RunOptions
from conftest import curve, detail, make_run, result, timing

#: The answer to a request, or an exception: SilentError for none in time, any other for one raised in the worker.
Reply = Callable[[dict[str, Any]], dict[str, Any]]

OPTIONS = RunOptions(
    device="cpu", profile="quick", select=None, launches=3, seeds=(0, 1), threads=1, timeout_s=5.0, implementation=None
)
PLANNED = (result("op/a"), result("op/b"), result("train/c"), result("numerics/d"))


class DeathError(Exception):
    """Raised by a reply: the process ends with the message as its reason."""


def replies(**more: Reply) -> dict[str, Reply]:
    """Returns replies to all requests, with those in `more` instead of the usual ones."""
    environment = make_run().environment
    variables = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONHASHSEED"), "set there")
    info = environment.model_copy(update={"variables": variables})
    return {
        "catalogue": lambda _: {"refused": None, "cases": [one.case.model_dump(mode="json") for one in PLANNED]},
        "environment": lambda _: {"device": "cpu", "environment": info.model_dump(mode="json"), "refused": None},
        "start": lambda _: {},
        "stage": lambda _: {"missing": {}},
        "check": lambda _: {"observations": [{"what": "error", "value": 0.0, "limit": 1.0}], "skipped": None},
        "curve": lambda request: {
            "curve": curve(request["seed"]).model_dump(mode="json"),
            "detail": detail(request["seed"]).model_dump(mode="json", by_alias=True, exclude={"schema_version"}),
            "skipped": None,
        },
        "time_case": lambda _: {"timing": timing(1e-3).model_dump(mode="json"), "skipped": None},
        "prepare": lambda _: {"tunables": "glibc.malloc.hugetlb=1"},
        "build": lambda _: {"step_s": 0.2, "cold": False, "examples": None, "skipped": None},
        "rebuild": lambda _: {},
        "time_block": lambda request: {"samples_s": [0.2] * request["rounds"], "cpu_share": 1.0},
        "measure_memory": lambda _: {"memory": {"allocated_peak_bytes": 64}},
        "release": lambda _: {"gpu": None},
        **more,
    }


class FakeProcess:
    """A worker process that answers from a script."""

    def __init__(self, script: dict[str, Reply], requests: list[dict[str, Any]]) -> None:
        self._script, self._requests = script, requests
        self._line: str | None = None
        self._silent, self._reason = False, "the process was ended by SIGKILL"

    def send(self, line: str) -> None:
        request = json.loads(line)
        self._requests.append(request)
        try:
            self._line = json.dumps({"done": self._script[request["do"]](request)})
        except SilentError:
            self._silent = True
        except DeathError as error:
            self._line, self._reason = None, str(error)
        except Exception as error:  # noqa: BLE001  # as the worker does
            self._line = json.dumps({"failed": f"{type(error).__name__}: {error}"})

    def receive(self, timeout_s: float) -> str | None:
        if self._silent:
            raise SilentError(f"said nothing for {timeout_s:g} s")
        return self._line

    def exit_reason(self) -> str:
        return self._reason

    def kill(self) -> None:
        """Does nothing: there is no process."""

    def end(self) -> None:
        """Does nothing: there is no process."""


class FakeEnvironment(Environment):
    """An environment whose workers answer from a script; it counts them by label, and keeps their requests."""

    def __init__(self, name: str = "fake", **more: Reply) -> None:
        super().__init__(name)
        self._script = replies(**more)
        self.requests: list[dict[str, Any]] = []
        self.started: Counter[str] = Counter()
        self.closed = 0

    def prepare(self, notify: Notify = lambda _: None) -> None:
        notify(f"{self.name} is prepared")

    def start(self, options: WorkerOptions, token: str) -> WorkerProcess:
        self.started[options.label] += 1
        return FakeProcess(self._script, self.requests)

    def close(self) -> None:
        self.closed += 1


def session(environment: Environment, folder: Path, heard: list[Progress] | None = None) -> Session:
    """Returns a session in a fake environment."""
    return Session(OPTIONS, folder, ProgressCounter((heard if heard is not None else []).append), None, environment)


def paired(a: Environment, b: Environment, folder: Path) -> PairedSession:
    """Returns both sides of a comparison of fake environments."""
    return PairedSession((a, b), (OPTIONS, OPTIONS), folder, lambda _: None)


def begun(pair: PairedSession) -> PreparedPair:
    """Returns both sides, prepared, with their folders."""
    prepared = pair.prepare()
    prepared.begin()
    return prepared
