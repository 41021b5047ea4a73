"""`make gpu-check` with steps of a test: real processes, limits, and what is left when it is cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from conftest import ROOT
from gpu_check.check import check
from gpu_check.process import run
from gpu_check.results import Results
from gpu_check.step import CUT_OFF, FAILED, FOUND, OK, SKIPPED, NothingToDoError, Outcome, Request, Step
from gpu_check.steps import STEPS

#: Ignores the signal by which it is told to end.
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('begun', flush=True); signal.pause()"


def step(name: str, code: str, share: float = 100.0, **more: object) -> Step:
    """A step that runs a program of Python."""
    return Step(name, name, share, lambda *_: [sys.executable, "-c", code], **more)  # type: ignore[arg-type]


def absent(*_: object) -> list[str]:
    """The command of a step that this machine can't do."""
    raise NothingToDoError("there is no such thing here")


def checked(folder: Path, *steps: Step, seconds: float = 600.0) -> tuple[Results, list[str]]:
    """Does steps in a folder; returns the results and what was shown."""
    shown: list[str] = []
    results = check(Request("cpu", folder / "out", seconds), steps, root=folder, show=shown.append)
    return results, shown


def test_steps_are_done_in_order_and_kept(tmp_path: Path) -> None:
    """Each with its log, its state by the exit status and its last line; one that breaks takes no other with it."""
    results, shown = checked(
        tmp_path,
        step("good", "print('one'); print('two')"),
        step("red", "raise SystemExit(1)", states={0: OK, 1: FOUND}, words={1: "a regression"}),
        step("wrong", "raise SystemExit(2)"),
        Step("absent", "absent", 1.0, absent),
        Step("no program", "no program", 1.0, lambda *_: ["/nowhere/program"]),
        step("last", "print('still here')"),
    )
    assert [one.state for one in results.outcomes] == [OK, FOUND, FAILED, SKIPPED, FAILED, OK]
    assert [one.reason for one in results.outcomes[1:4]] == [
        "a regression",
        "exit status 2",
        "there is no such thing here",
    ]
    assert shown.index("one") < shown.index("still here")
    assert (tmp_path / "out" / "good.log").read_text() == "one\ntwo\n"
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [one["last_line"] for one in summary["steps"]] == ["two", "", "", None, None, "still here"]
    assert "A rehearsal on a CPU" in (tmp_path / "out" / "summary.md").read_text()
    assert results.status == 3


@pytest.mark.parametrize(("states", "status"), [((OK, SKIPPED), 0), ((OK, FOUND), 1), ((FOUND, CUT_OFF), 3)])
def test_the_exit_status_is_that_of_the_steps(tmp_path: Path, states: tuple[str, ...], status: int) -> None:
    """0 where all is well, 1 where a step found something, 3 where one was not done."""
    outcomes = [Outcome("x", "x", state=state) for state in states]
    assert Results(Request("cpu", tmp_path, 1.0), outcomes).status == status


def test_a_step_at_its_limit_is_ended_and_the_next_one_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cut off, whatever its exit status."""
    monkeypatch.setattr("gpu_check.check.LEAST_S", 0.0)
    hangs = step("hangs", "import signal; signal.pause()", 0.005)
    results, _ = checked(tmp_path, hangs, step("next", "print('next')", 10.0), seconds=600.0)
    cut, after = results.outcomes
    assert (cut.state, cut.reason, cut.status) == (CUT_OFF, "ended at its limit", -signal.SIGTERM)
    assert after.state == OK


def test_a_step_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    """With its output up to then."""
    lines: list[str] = []
    ended = run(
        [sys.executable, "-c", STUBBORN],
        tmp_path / "log",
        600.0,
        folder=tmp_path,
        show=lines.append,
        stopped=lambda: "begun" in lines,
        grace_s=0.2,
    )
    assert (ended.status, ended.last_line, ended.cut_off) == (-signal.SIGKILL, "begun", True)


def test_time_that_is_left_goes_to_the_steps_after_it(tmp_path: Path) -> None:
    """By their shares; what has a fixed time keeps to it, and without time there is no step."""
    results, _ = checked(
        tmp_path, step("fixed", "", 12.0, fixed=True), step("a", "", 300.0), step("b", "", 100.0), seconds=1000.0
    )
    fixed, a, b = (one.limit_s for one in results.outcomes)
    assert fixed == 12.0
    assert 700 < (a or 0) < 750  # three quarters of 990
    assert 950 < (b or 0) < 991  # all that was left
    (late,) = checked(tmp_path / "late", step("late", ""), seconds=1.0)[0].outcomes
    assert (late.state, late.reason) == (SKIPPED, "no time was left")


def test_without_a_gpu_the_rest_is_not_tried(tmp_path: Path) -> None:
    """The preflight decides: its failure is the reason of all others."""
    results, _ = checked(tmp_path, step("preflight", "raise SystemExit(3)", fixed=True), step("run", "print('ran')"))
    assert [one.state for one in results.outcomes] == [FAILED, SKIPPED]
    assert results.outcomes[1].reason == "preflight failed"
    assert not (tmp_path / "out" / "run.log").exists()


PROGRAM = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
import gpu_check.steps
from gpu_check.step import Step
command = lambda code: lambda *_: [sys.executable, "-c", code]
gpu_check.steps.STEPS = (
    Step("first", "first", 1.0, command("print('done')")),
    Step("second", "second", 1.0, command("import signal; print('begun', flush=True); signal.pause()")),
    Step("third", "third", 1.0, command("print('third')")),
)
sys.argv[0] = "gpu-check"
from gpu_check.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_done_is_there_when_it_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    """Killed outright, the logs and the last summary can be read; told to end, it packs them first."""
    folder = tmp_path / "out"
    command = [sys.executable, "-c", PROGRAM, "--device", "cpu", "--out", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "begun\n":
                break
        os.kill(process.pid, number)
        rest = process.stdout.read() if number is signal.SIGTERM else ""
    assert (folder / "first.log").read_text() == "done\n"
    assert (folder / "second.log").read_text() == "begun\n"
    summary = json.loads((folder / "summary.json").read_text())
    states = [one["state"] for one in summary["steps"]]
    archive = tmp_path / "out.tar.gz"
    if number is signal.SIGKILL:
        assert states == ["ok", "running", "pending"]
        assert not archive.exists()
        return
    assert states == ["ok", "cut off", "skipped"]
    assert summary["ended_by"] == "told to end"
    assert f"packed into {archive}" in rest
    assert process.returncode == 3
    with tarfile.open(archive) as tar:
        assert {"out/summary.json", "out/first.log", "out/second.log"} <= set(tar.getnames())


def test_every_step_has_a_command_or_a_reason(tmp_path: Path) -> None:
    """On a CPU too, where it is rehearsed: what is left out is said."""
    reasons = {}
    for one in STEPS:
        try:
            assert one.command(Request("cpu", tmp_path, 600.0), one.share)[0] == sys.executable
        except NothingToDoError as error:
            reasons[one.name] = str(error)
    assert set(reasons) <= {"agreement", "calibration", "full"}
    assert all(reasons.values())


def test_the_preflight_looks_at_this_machine(tmp_path: Path) -> None:
    """As a rehearsal on a CPU: what the doctor sees, the environment, and what is installed."""
    program = ROOT / "tests" / "gpu_check" / "preflight.py"
    done = subprocess.run([sys.executable, program, "cpu", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    assert "gpu-kernel: no" in done.stdout  # no GPU here, or no answer in time where the machine is busy
    assert json.loads((tmp_path / "preflight.json").read_text())["checks"]
    assert any(line.startswith("torch==") for line in (tmp_path / "packages.txt").read_text().splitlines())
