"""The examination of a host as a whole, and ``bnsuite doctor`` as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnsuite import doctor
from bnsuite.doctor.examine import examine
from bnsuite.doctor.host import DoctorRequest, Host
from bnsuite.doctor.result import Result, Subject, fine
from bnsuite.record import host as record
from bnsuite.record.host import CheckState, HostReport
from conftest import ROOT, Command
from fake_host import fake_host, shown


def subject(name: str, probe: Callable[[Host, DoctorRequest], Any], **checks: Callable[[Any], Result]) -> Subject[Any]:
    return Subject(name, probe, checks)


def raises(error: Exception) -> Callable[..., Any]:
    def raising(*_: Any) -> Any:
        raise error

    return raising


def test_a_broken_look_is_unknown_and_costs_no_other(tmp_path: Path) -> None:
    """A probe that raises has no answers, a check that raises none of its own; each has the cause in one line."""
    good = subject("good", lambda *_: 1, one=lambda facts: fine(facts=facts), two=raises(KeyError("a\nb")))
    broken = subject("broken", raises(PermissionError(13, "Permission denied", "/proc/x")), three=lambda _: fine())
    checks = examine(fake_host(tmp_path), DoctorRequest(), [broken, good], limit_s=60.0)
    assert [(one.name, one.state) for one in checks] == [
        ("three", CheckState.UNKNOWN),
        ("one", CheckState.OK),
        ("two", CheckState.UNKNOWN),
    ]
    assert shown(checks[0]) == "unknown: could not look: /proc/x: Permission denied"
    assert shown(checks[2]) == "unknown: could not look: KeyError: 'a\\nb'"


def test_a_look_that_hangs_is_left_behind(tmp_path: Path) -> None:
    """Its answers so far count, the others are unknown."""
    never = threading.Event()
    hangs = subject("hangs", lambda *_: never.wait, one=lambda wait: fine(), two=lambda wait: wait() or fine())
    try:
        done = subject("done", lambda *_: None, three=lambda _: fine())
        checks = examine(fake_host(tmp_path), DoctorRequest(), [done, hangs], limit_s=0.5)
    finally:
        never.set()
    assert [one.state.value for one in checks][-1] == "unknown"
    assert shown(checks[-1]) == "unknown: could not look: no answer within 0.5 s"


def test_what_is_ignored_is_not_looked_at(tmp_path: Path) -> None:
    """Not even by its subject's probe, if all of its checks are ignored."""
    alone = subject("alone", raises(AssertionError("looked")), one=lambda _: fine())
    pair = subject("pair", lambda *_: None, two=lambda _: fine(), three=lambda _: fine())
    checks = examine(fake_host(tmp_path), DoctorRequest(), [alone, pair], limit_s=60.0, ignored={"one", "two"})
    assert [one.name for one in checks] == ["three"]


def test_every_check_has_a_name_of_its_own() -> None:
    """Files and --ignore go by it."""
    names = doctor.check_names()
    assert len(set(names)) == len(names)


def test_the_fast_checks_never_raise(tmp_path: Path) -> None:
    """An empty machine leaves unknown checks, a broken one no report; neither ends a measurement."""
    report = doctor.taken(DoctorRequest(), fake_host(tmp_path))
    assert report is not None
    assert {one.name for one in report.checks} == {name for one in doctor.FAST for name in one.checks}
    broken = fake_host(tmp_path)
    object.__setattr__(broken, "now", raises(OSError("no clock")))
    assert doctor.taken(DoctorRequest(), broken) is None


def test_the_command_on_this_machine(bnsuite: Command, tmp_path: Path) -> None:
    """It prints a line per finding and the status last; its JSON has the same status, and changes nothing here."""
    before = sorted(tmp_path.rglob("*"))
    plain, as_json, everything = bnsuite("doctor"), bnsuite("doctor", "--json"), bnsuite("doctor", "--all")
    assert sorted(tmp_path.rglob("*")) == before
    assert "Traceback" not in plain.err + as_json.err + everything.err
    last = plain.out.splitlines()[-1]
    assert last.endswith(f"(exit status {plain.status})")
    found = json.loads(as_json.out)
    assert found.pop("status") == as_json.status
    states = {one["state"] for one in found["checks"]}
    assert as_json.status == (1 if "disturbs" in states else 2 if "unknown" in states else 0)
    for one in found["checks"]:
        assert one.pop("text")
        assert bool(one.pop("fix_text")) == (one["state"] == "disturbs")
    report = HostReport.model_validate_json(json.dumps(found))
    assert [one.name for one in report.checks] == doctor.check_names()
    assert len(everything.out.splitlines()) == len(report.checks) + 1


def test_the_command_ignores_what_it_is_told_to(bnsuite: Command) -> None:
    """With everything ignored nothing disturbs; a name that is none is an error of usage."""
    ignored = [part for name in doctor.check_names() for part in ("--ignore", name)]
    assert bnsuite("doctor", *ignored).out == "fit to measure: nothing looked at (exit status 0)\n"
    wrong = bnsuite("doctor", "--ignore", "lod")
    assert wrong.status == 2
    assert wrong.err.startswith("bnsuite: --ignore lod: there is no such check; choose from cores, load, ")


@pytest.mark.parametrize("arguments", [["--device", "gpu"], ["--threads", "100000"], ["now"]])
def test_wrong_usage_is_status_2(bnsuite: Command, arguments: list[str]) -> None:
    """In one line, as of every other verb."""
    done = bnsuite("doctor", *arguments)
    assert done.status == 2
    assert len(done.err.splitlines()) == 1


def test_the_command_needs_no_root() -> None:
    """As a user who owns nothing it looks at the same checks; only a folder of its own is not writable."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become another user, by setpriv")
    command = [
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
        *(sys.executable, "-B", "-m", "bnsuite", "doctor", "--json"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "suite"), "HOME": "/nonexistent"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", env=environment)
    if "Permission denied" in done.stderr:
        pytest.skip("this interpreter can't be read by others")
    assert done.returncode in {0, 1, 2}, done.stderr
    found = json.loads(done.stdout)
    assert [one["name"] for one in found["checks"]] == doctor.check_names()
    assert "Permission denied" not in done.stdout


@pytest.mark.slow
def test_a_run_keeps_the_state_of_its_host(bnsuite: Command, tmp_path: Path) -> None:
    """Of the fast checks, beside the run; a later run in the same folder has its own."""
    check = "numerics/strides/batch_norm2d/train/x=sliced"
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / record.HOST).write_text("of an earlier run")
    done = bnsuite("--device", "cpu", "-k", check, "--out", "o")
    assert done.status == 0, done.err
    report = record.load(tmp_path / "o")
    assert report is not None
    assert {one.name for one in report.checks} == {name for one in doctor.FAST for name in one.checks}
    assert bnsuite("show", "o").status == 0
    (tmp_path / "o" / record.HOST).write_text('{"schema": 1, "taken": 5}')
    damaged = bnsuite("show", "o")
    assert damaged.status == 2
    assert damaged.err.startswith("bnsuite: o/doctor.json: wrong field ")
    assert len(damaged.err.splitlines()) == 1
