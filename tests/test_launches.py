"""The timing launches of a run: fresh processes, repeats of disturbed cases, failures that cost only their case."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bnsuite.launch.environments import parse
from bnsuite.launch.launches import Launches
from bnsuite.launch.plan import MAX_REPEATS
from bnsuite.launch.progress import ProgressCounter
from bnsuite.launch.session import Session
from bnsuite.record.schema import Run, Status
from conftest import timing
from fake_environment import OPTIONS, DeathError, FakeEnvironment, session

TORCH = str(Path(str(find_spec("torch").origin)).parents[1])  # type: ignore[union-attr]  # it is installed


def timed(environment: FakeEnvironment, folder: Path) -> tuple[Run, list[str]]:
    """Returns the run after its timing launches, with the warnings."""
    with session(environment, folder) as one:
        prepared = one.prepare()
        prepared.begin()
        run = Launches(prepared).time(prepared.recorder.ids("timing"))
    return run, one.warnings


def test_each_launch_is_a_fresh_process(tmp_path: Path) -> None:
    """Every case is timed in as many launches as were asked for, each after torch is imported."""
    environment = FakeEnvironment()
    run, warnings = timed(environment, tmp_path / "o")
    assert environment.started["launch"] == 3
    assert {len(case.timings) for case in run.cases if "timing" in case.outcomes} == {3}
    assert [one["do"] for one in environment.requests].count("start") == 3
    assert warnings == []
    assert not (tmp_path / "o" / "pytest-benchmark").exists()


def test_a_case_that_is_disturbed_is_repeated(tmp_path: Path) -> None:
    """Alone, and in no more launches than there may be."""

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        share = 0.5 if request["case"] == "op/a" else 1.0
        return {"timing": timing(1e-3, cpu_share=share).model_dump(mode="json"), "skipped": None}

    run, _ = timed(FakeEnvironment(time_case=reply), tmp_path / "o")
    assert {case.id: len(case.timings) for case in run.cases if case.timings} == {
        "op/a": 3 + MAX_REPEATS,
        "op/b": 3,
        "train/c": 3,
    }


def test_a_case_that_dies_costs_only_itself(tmp_path: Path) -> None:
    """The other cases go on in another process of the same launch."""

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        if request["case"] == "op/a":
            raise DeathError("the process was ended by SIGSEGV")
        return {"timing": timing(1e-3).model_dump(mode="json"), "skipped": None}

    environment = FakeEnvironment(time_case=reply)
    run, _ = timed(environment, tmp_path / "o")
    outcomes = {case.id: case.outcomes["timing"] for case in run.cases if "timing" in case.outcomes}
    assert outcomes["op/a"].reason == "the process was ended by SIGSEGV"
    assert {outcomes[name].status for name in ("op/b", "train/c")} == {Status.MEASURED}
    assert environment.started["launch"] == 4


def test_a_process_that_times_nothing_fails_all_its_cases(tmp_path: Path) -> None:
    """More launches of it would not help."""

    def reply(_: dict[str, Any]) -> dict[str, Any]:
        raise DeathError("the process ended with status 5")

    environment = FakeEnvironment(start=reply)
    run, _ = timed(environment, tmp_path / "o")
    reasons = {case.outcomes["timing"].reason for case in run.cases if "timing" in case.outcomes}
    assert reasons == {"the timing process: the process ended with status 5"}
    assert environment.started["launch"] == 1


def test_what_an_implementation_refuses_is_skipped(tmp_path: Path) -> None:
    """With its reason, in one line."""
    run, _ = timed(FakeEnvironment(time_case=lambda _: {"timing": None, "skipped": "not\nhere"}), tmp_path / "o")
    outcomes = [case.outcomes["timing"] for case in run.cases if "timing" in case.outcomes]
    assert {(one.status, one.reason) for one in outcomes} == {(Status.SKIPPED, "not here")}


def test_a_launch_may_not_speak_of_other_cases(tmp_path: Path) -> None:
    """An outcome that was not asked for is an error of the process, and recorded nowhere."""

    def launch(_: list[str], __: int) -> Iterator[Any]:
        yield "op/other", timing(1e-3)

    with session(FakeEnvironment(), tmp_path / "o") as one:
        prepared = one.prepare()
        prepared.begin()
        launches = Launches(prepared, launch)  # type: ignore[arg-type]  # an iterator does
        run = launches.time(prepared.recorder.ids("timing"))
    reasons = {case.outcomes["timing"].reason for case in run.cases if "timing" in case.outcomes}
    assert reasons == {"the timing process: sent an outcome of 'op/other', which it was not asked for"}


def lingering(code: str) -> str:
    return f"from torch.nn import BatchNorm1d\n\n\ndef factory(*a, **k):\n    {code}\n    return BatchNorm1d(*a, **k)\n"


@pytest.mark.parametrize(
    ("code", "warns"),
    [
        ("import threading, time; threading.Thread(target=time.sleep, args=(600,)).start()", True),
        ("import os, time; os.fork() or (time.sleep(600), os._exit(0))", False),
        ("import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)", False),
    ],
    ids=["thread", "fork", "daemon"],
)
def test_what_outlives_the_last_case_is_ended_with_the_launch(tmp_path: Path, code: str, warns: bool) -> None:
    """All cases count, one warning says so where the process could not end, and no process is left."""
    (tmp_path / "mine.py").write_text(lingering(code), encoding="utf-8")
    select = "op/batch_norm1d/fwd-eval/f32/nc/64x128"
    options = OPTIONS.model_copy(
        update={"implementation": f"{tmp_path / 'mine.py'}:factory", "select": select, "timeout_s": 60.0, "launches": 1}
    )
    with Session(options, tmp_path / "o", ProgressCounter(lambda _: None)) as one:
        prepared = one.prepare()
        prepared.begin()
        run = Launches(prepared).time(prepared.recorder.ids("timing"))
        assert processes_left(one.scratch) == []
    assert {case.outcomes["timing"].status for case in run.cases} == {Status.MEASURED}
    said = [text for text in one.warnings if "outlives its last case; it is ended with each launch" in text]
    assert len(said) == warns


def processes_left(scratch: Path) -> list[str]:
    """Returns the processes that have `scratch` as their TMPDIR, once those that were killed had time to end."""
    for _ in range(200):
        if not (left := processes_of(scratch)):
            return []
        time.sleep(0.05)
    return left


def processes_of(scratch: Path) -> list[str]:
    """Returns the processes that have `scratch` as their TMPDIR."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={scratch}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(folder.name)
        except OSError:
            continue
    return found


@pytest.fixture
def other_interpreter(tmp_path: Path) -> str:
    """Another environment: a virtual environment with torch, and without pytest-benchmark's items."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (packages / "there.pth").write_text(TORCH)
    return f"python:{tmp_path / 'venv'}"


@pytest.mark.slow
def test_a_run_in_another_interpreter_has_all_that_one_here_has(other_interpreter: str, tmp_path: Path) -> None:
    """Timings with controls and memory, observations and curves, and no JSON of pytest-benchmark."""
    run_everything(other_interpreter, tmp_path / "o")


def test_a_run_in_an_image_has_all_that_one_here_has(client: Any, tmp_path: Path) -> None:
    """The same, in containers of the image that BNSUITE_IMAGE names."""
    name = os.environ.get("BNSUITE_IMAGE")
    if not name:
        pytest.skip("BNSUITE_IMAGE names no image; `make image image-test` builds and tests one")
    run_everything(f"docker:{name}", tmp_path / "o")


def run_everything(environment: str, folder: Path) -> None:
    """Measures a layer, a check and a training in `environment`, and looks at what was recorded."""
    layer, ratio = "op/batch_norm1d/fwd-eval/f32/nc/64x128", "ratio/eval-vs-train"
    training, check = "train/synthetic-mlp/bn/lr=0.01", "numerics/reference/batch_norm1d"
    select = f"{layer} or {ratio} or {training} or {check}"
    options = OPTIONS.model_copy(update={"select": select, "timeout_s": 120.0, "launches": 1, "profile": "full"})
    with Session(options, folder, ProgressCounter(lambda _: None), None, parse(environment)) as one:
        prepared = one.prepare()
        prepared.begin()
        prepared.run_checks()
        prepared.run_trainings()
        run = Launches(prepared).time(prepared.recorder.ids("timing"))
        prepared.end()
    assert one.warnings == []
    cases = {case.id: case for case in run.cases}
    timings = cases[layer].timings
    assert timings[0].memory.allocated_peak_bytes is not None
    assert set(timings[0].controls_s) == {"copy", "linear"}
    assert len(timings[0].samples_s) >= 7
    assert len(cases[training].curves) == 2
    assert len(cases[training].timings[0].samples_s) == 25  # whole epochs
    ratios = [case for name, case in cases.items() if name.startswith(ratio)]
    assert ratios
    assert all(set(case.timings[0].controls_s) == {"partner"} for case in ratios)
    assert any(case.observations for name, case in cases.items() if name.startswith(check))
    assert not (folder / "pytest-benchmark").exists()
