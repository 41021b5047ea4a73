"""A session: its cases are chosen and measured by workers of any environment, and what they fail on is recorded."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest

from bnsuite.launch.environments import EnvironmentUnavailableError, Here
from bnsuite.launch.prepared import GpuLostError
from bnsuite.launch.process.messages import CheckAnswer
from bnsuite.launch.progress import Progress, ProgressCounter
from bnsuite.launch.session import Session
from bnsuite.record.errors import InputError
from bnsuite.record.schema import Status
from conftest import result
from fake_environment import OPTIONS, PLANNED, DeathError, FakeEnvironment, Reply, replies, session


def dies(_: dict[str, Any]) -> dict[str, Any]:
    raise DeathError("the process was ended by SIGSEGV")


def raises(_: dict[str, Any]) -> dict[str, Any]:
    raise RuntimeError("x" * 100_000)


def test_checks_and_trainings_are_recorded(tmp_path: Path) -> None:
    """Each is one measurement of the progress, each seed too."""
    heard: list[Progress] = []
    with session(FakeEnvironment(), tmp_path / "o", heard) as one:
        prepared = one.prepare()
        prepared.begin()
        prepared.run_checks()
        prepared.run_trainings()
        prepared.end()
    by_id = {case.id: case for case in prepared.run.cases}
    assert [curve.seed for curve in by_id["train/c"].curves] == [0, 1]
    assert by_id["numerics/d"].observations
    assert [(one.done, one.total) for one in heard] == [(1, 3), (2, 3), (3, 3)]
    assert prepared.run.finished


def test_a_check_that_dies_is_failed_and_its_reason_is_short(tmp_path: Path) -> None:
    """A training that raises is failed too, with the head of a long text, and the log folder is named."""
    with session(FakeEnvironment(check=dies, curve=raises), tmp_path / "o") as one:
        prepared = one.prepare()
        prepared.begin()
        prepared.run_checks()
        prepared.run_trainings()
    outcomes = {case.id: case.outcomes for case in prepared.run.cases}
    assert outcomes["numerics/d"]["numerics"].reason == "the process was ended by SIGSEGV"
    reason = outcomes["train/c"]["convergence"].reason
    assert reason is not None
    assert re.match(r"seed [01]: RuntimeError: xxx", reason)  # they run beside each other: the one that failed last
    assert reason.endswith(" ... (100014 characters)")
    assert len(reason) < 600
    assert one.warnings == [f"what the measured processes printed is in {tmp_path}/o/log/"]


def test_recorded_settings_are_those_of_the_measured_process(tmp_path: Path) -> None:
    """Not those of the coordinator; one that did not reach it is named."""
    with session(FakeEnvironment(), tmp_path) as one:
        isolation = one.prepare().run.isolation
    assert isolation.variables == dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONHASHSEED"), "set there")
    assert "MALLOC_MMAP_THRESHOLD_ did not reach the measured process" in isolation.not_applied


def test_leaving_a_session_closes_its_environment_and_its_files(tmp_path: Path) -> None:
    """Whatever ended it."""
    environment = FakeEnvironment()
    one = session(environment, tmp_path)
    with contextlib.suppress(ZeroDivisionError), one:
        one.prepare()
        raise ZeroDivisionError
    assert environment.closed == 1
    assert not one.scratch.exists()


def test_an_environment_that_does_not_start_is_named(tmp_path: Path) -> None:
    """With the reason, and as an error that has both as data."""
    with session(FakeEnvironment("E", environment=dies), tmp_path) as one, pytest.raises(InputError) as caught:
        one.prepare()
    assert isinstance(caught.value, EnvironmentUnavailableError)
    assert caught.value.environment == "E"
    assert caught.value.cause == "no worker starts there: the process was ended by SIGSEGV"


@pytest.mark.parametrize(
    ("code", "limit_s", "said"),
    [
        ("import os; os._exit(0)", 120.0, "the process ended with status 0"),
        ("raise KeyboardInterrupt", 120.0, "the process was ended by SIGINT"),
        ("import time; time.sleep(600)", 1.0, "no answer after 1 s, the limit that --timeout sets"),
    ],
    ids=["exits", "interrupts", "hangs"],
)
def test_an_implementation_that_dies_or_hangs_on_import_is_named(
    tmp_path: Path, code: str, limit_s: float, said: str
) -> None:
    """It is wrong input, with the file and what happened."""
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    implementation = f"{tmp_path / 'mine.py'}:factory"
    options = OPTIONS.model_copy(
        update={"implementation": implementation, "timeout_s": limit_s, "select": "op/batch_norm1d"}
    )
    with Session(options, tmp_path / "o", ProgressCounter(lambda _: None), None, Here()) as one:
        with pytest.raises(InputError) as caught:
            one.prepare()
        assert str(caught.value).startswith(f"implementation {implementation}: can't be imported: {said}")


def test_outcomes_are_pending_before_anything_is_measured(tmp_path: Path) -> None:
    """And nothing is written before the run begins."""
    with session(FakeEnvironment(), tmp_path / "o") as one:
        prepared = one.prepare()
        assert not (tmp_path / "o").exists()
        prepared.begin()
    assert {outcome.status for case in prepared.run.cases for outcome in case.outcomes.values()} == {Status.PENDING}


def on_gpu(**more: Reply) -> FakeEnvironment:
    """An environment whose device is a GPU."""
    info = replies()["environment"]({})
    return FakeEnvironment(environment=lambda _: {**info, "device": "cuda:0"}, **more)


def sticky(_: dict[str, Any]) -> dict[str, Any]:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_a_lost_gpu_ends_the_measuring(tmp_path: Path) -> None:
    """A fresh process can't compute on it either: one line says what CUDA said, and how many cases are left."""
    gone = {"trouble": "AcceleratorError: CUDA error: unknown error"}
    with session(on_gpu(check=sticky, probe=lambda _: gone), tmp_path / "o") as one:
        prepared = one.prepare()
        prepared.begin()
        with pytest.raises(GpuLostError, match=r"the GPU was lost \(cuda:0\): Acc.* unknown") as told:
            prepared.run_checks()
    assert "; 3 cases not measured; " in str(told.value)
    statuses = [outcome.status for case in prepared.run.cases for outcome in case.outcomes.values()]
    assert statuses.count(Status.FAILED) == 1


def test_a_gpu_that_is_lost_while_kernels_are_looked_at_ends_the_measuring(tmp_path: Path) -> None:
    """Not one process after the other is started for the cases that are left."""
    gone = {"trouble": "AcceleratorError: CUDA error: unknown error"}
    planned = [one.case.model_dump(mode="json") for one in PLANNED]
    cases = [{**one, "gates": [*one["gates"], "kernels"]} for one in planned if one["id"].startswith("op/")]
    asked = []

    def kernels(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["case"])
        return sticky(request)

    made = on_gpu(kernels=kernels, probe=lambda _: gone, catalogue=lambda _: {"refused": None, "cases": cases})
    with session(made, tmp_path / "o") as one:
        prepared = one.prepare()
        prepared.begin()
        with pytest.raises(GpuLostError, match=r"the GPU was lost \(cuda:0\)"):
            prepared.look_at_kernels()
    assert asked == ["op/a"]


@pytest.mark.parametrize(
    "trouble", ["CUDA out of memory. Tried to allocate 2 MiB", "CUDA-capable device(s) is/are busy or unavailable"]
)
def test_a_gpu_that_others_have_is_not_lost(tmp_path: Path, trouble: str) -> None:
    """A probe that finds no room says nothing of the GPU's health: the other checks go on."""
    cases = [result(f"numerics/{name}").case.model_dump(mode="json") for name in "de"]
    made = on_gpu(
        check=sticky, probe=lambda _: {"trouble": trouble}, catalogue=lambda _: {"refused": None, "cases": cases}
    )
    with session(made, tmp_path / "o") as one:
        prepared = one.prepare()
        prepared.begin()
        prepared.run_checks()
    assert [case.outcomes["numerics"].status for case in prepared.run.cases] == [Status.FAILED] * 2


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_a_gpu_that_works_again_is_measured_on(tmp_path: Path, device: str) -> None:
    """The error was of one process: the check has failed, and the rest is measured. A CPU is not asked."""
    asked = []

    def probe(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["device"])
        return {"trouble": None}

    made = FakeEnvironment(check=sticky) if device == "cpu" else on_gpu(check=sticky, probe=probe)
    with session(made, tmp_path / "o") as one:
        prepared = one.prepare()
        prepared.begin()
        prepared.run_checks()
        prepared.run_trainings()
    by_id = {case.id: case for case in prepared.run.cases}
    assert by_id["numerics/d"].outcomes["numerics"].status is Status.FAILED
    assert len(by_id["train/c"].curves) == 2
    assert asked == ([] if device == "cpu" else ["cuda:0"])


def test_a_process_that_is_unfit_is_replaced(tmp_path: Path) -> None:
    """Its answer counts, and the next request goes to a fresh one."""
    seen = {"observations": [{"what": "error", "value": 0.0, "limit": 1.0}], "skipped": None}
    environment = FakeEnvironment(check=lambda _: {**seen, "unfit": "RuntimeError: CUDA error: invalid argument"})
    with session(environment, tmp_path / "o") as one:
        worker = one.worker("check")
        for _ in range(2):
            answer = worker.ask({"do": "check"}, CheckAnswer, 5.0)
            assert answer.observations
            assert worker._process is None
