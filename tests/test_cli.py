"""The command line: wrong input is one line that names the thing, the cause and the mend."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bnsuite import __version__
from bnsuite.cli import output
from bnsuite.cli.command import VERBS, main
from bnsuite.cli.conclude import conclude
from bnsuite.record import interleaved, store
from bnsuite.record.errors import InputError
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.key import machine_key
from bnsuite.record.reference import from_run
from conftest import curve, make_run, result, timing

RUN = make_run(
    result("op/a", timings=(timing(1e-3), timing(1e-3), timing(1.01e-3))),
    result("train/w/bn/x", timings=(timing(1e-2),) * 3, curves=tuple(curve(seed) for seed in range(3))),
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, with one run in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("BNSUITE_OUT", "BNSUITE_BASELINES"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "run").mkdir()
    store.save(RUN, tmp_path / "run")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bench"], "'bench' is not a verb; choose from run, list, ab, bisect, check, accept, show"),
        (["--devise", "cpu"], "unrecognized arguments: --devise cpu; see `bnsuite --help`"),
        (["show", "--strict"], "unrecognized arguments: --strict; see `bnsuite show --help`"),
        (["--device", "gpu"], "--device gpu: no such device; choose auto, cpu, cuda or cuda:N"),
        (["--device"], "argument --device: expected one argument"),
        (["--profile", "nightly"], "argument --profile: invalid choice: 'nightly' (choose from"),
        (["--timeout", "-1"], "argument --timeout: '-1' is not a positive number"),
        (["--timeout", "inf"], "argument --timeout: 'inf' is not a positive number"),
        (["--threads", "two"], "argument --threads: 'two' is not a positive whole number"),
        (["--threads", "4096"], "--threads 4096: there are "),
        (
            ["--impl", "module"],
            "implementation module: write it like package.module:factory or path/to/file.py:factory",
        ),
        (["--impl", "nowhere.py:f"], "implementation nowhere.py:f: there is no file nowhere.py"),
        (["--device", "cpu", "--impl", "no_such:f"], "implementation no_such:f: no_such can't be imported: ModuleNot"),
        (["--device", "cpu", "--impl", "json:no_such"], "implementation json:no_such: json has no callable 'no_such'"),
        (["--out", ""], "argument --out: the path is empty"),
        (["check", ""], "argument RUN: the path is empty"),
        (["check", "run", "--baselines", ""], "argument --baselines: the path is empty"),
        (["accept", "run", "--dry-run", "--baselines", "run/run.json"], "run/run.json: is a file; name a folder"),
        (["--device", "cpu", "-k", "a or"], "-k 'a or': a word is missing at the end"),
        (["--device", "cpu", "-k", "no_such_case"], "-k 'no_such_case' matches none of the "),
        (["--device", "cpu", "--profile=full", "-k", "resnet50"], "the 1 case chosen needs a GPU; --device cuda"),
        (["--device", "cpu", "--profile=full", "-k", "cold"], "cases chosen need a GPU; --device cuda measures them"),
        (["--device", "cpu", "-k", "vgg11"], "cases of the quick profile, but 4 of the full one: --profile full"),
        (["ab", ".", ".", "--device", "cpu", "-k", "relation/layouts"], "matches relations only, which compare two "),
        (["list", "-k", "no_such_case"], "-k 'no_such_case' matches none of the "),
        (["--out", "run/run.json"], "run/run.json: cannot be written to: File exists"),
        (["--out", "run/run.json/x"], "run/run.json/x: cannot be written to: Not a directory"),
        (["--out", "/proc/x"], "/proc/x: cannot be written to: No such file or directory; choose another folder"),
        (["--baselines", "nowhere"], "--baselines nowhere: there is no such folder; `bnsuite accept` makes one"),
        (["check", "run", "--baselines", "run/run.json"], "--baselines run/run.json: is a file; name a folder"),
        (["selftest", "--device", "cuda:99", "--out", "new"], "--device cuda:99: "),
        (["check", "nowhere"], "nowhere: there is no run there; name the folder that a run wrote"),
        (["check", "run", "--against", "nowhere"], "nowhere: there is no run there"),
        (["check", "run", "--against", "run", "--baselines", "x"], "not allowed with argument"),
        (["check", "run", "--baselines", "nowhere"], "--baselines nowhere: there is no such folder"),
        (["check"], "results/latest: there is no run there"),
        (["show", "run"], "run/findings.json: there are no verdicts yet; `bnsuite check run` prints them"),
        (["show", "x" * 300], "cannot be looked at: File name too long"),
        (["accept", "nowhere"], "nowhere: there is no run there"),
    ],
)
def test_wrong_input_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, nothing on stdout, no traceback."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("bnsuite: ")
    assert said in err
    assert err.count("\n") == 1


def test_a_mistyped_variable_does_not_turn_the_gates_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BNSUITE_BASELINES", "nowhere")
    assert main(["check", "run"]) == 2
    assert "BNSUITE_BASELINES nowhere: there is no such folder" in capsys.readouterr().err


def test_deep_json_is_no_crash(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "run" / "run.json").write_text("[" * 100_000)
    assert main(["check", "run"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_reader_that_leaves_changes_no_verdict(folder: Path) -> None:
    """`bnsuite check | head` of a regression is still status 1."""
    slow = make_run(result("op/a", timings=(timing(2e-3), timing(2.02e-3), timing(2e-3))), RUN.cases[1])
    (folder / "slow").mkdir()
    store.save(slow, folder / "slow")
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "bnsuite", "check", "slow", "--against", "run"]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, b"")
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, check=False, env=ascii_only)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_regression_keeps_its_status_where_nothing_can_be_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the line about the folder is said all the same; without a regression it is status 2."""
    slow = make_run(result("op/a", timings=(timing(2e-3), timing(2.02e-3), timing(2e-3))), RUN.cases[1])
    accepted = from_run(RUN, "accepted", machine_key(RUN))
    options = argparse.Namespace(strict=False, json=False)
    assert conclude(slow, accepted, options, folder / "gone") == 1
    assert "gone/findings.json: cannot be written: No such file or directory" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"gone/findings\.json: cannot be written"):
        conclude(RUN, accepted, options, folder / "gone")
    (folder / "slow").mkdir()
    store.save(slow, folder / "slow")
    command = [sys.executable, "-m", "bnsuite", "check", "slow", "--against", "run"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"stdout: cannot be written to: No space left on device" in done.stderr


def test_what_may_not_be_read_is_wrong_input(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is mounted for another user, say (root may read all of them, so that it is asked for)."""

    def refuse(where: Path, _: object) -> Path:
        raise PermissionError(13, "Permission denied", f"{where}/timing")

    (folder / "baselines").mkdir()
    monkeypatch.setattr("bnsuite.record.baselines.timing_path", refuse)
    assert main(["check", "run"]) == 2
    assert capsys.readouterr().err == (
        "bnsuite: baselines/timing: Permission denied; give this user access (in a container: docker run --user)\n"
    )


def test_what_is_said_is_one_line_that_only_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever an exception of measured code has in it."""
    output.remark("first\nsecond: \x1b[31mred")
    assert capsys.readouterr().err == "bnsuite: first second: ?[31mred\n"


def test_a_comparison_that_was_killed_is_judged_by_what_it_left(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before its verdicts were written: what was timed is not lost."""
    times = InterleavedTimes(schema=2, a="A", b="B", seed=0, most_launches=18, budget_s=None, variables={}, cases=())
    for side in ("a", "b"):
        (folder / "ab" / side).mkdir(parents=True)
        store.save(RUN.model_copy(update={"finished": False}), folder / "ab" / side)
    interleaved.save(times, folder / "ab")
    assert main(["show", "ab"]) == 0
    said = capsys.readouterr().out
    assert "A, trusted: A" in said
    assert "not measured as asked (the run did not come to its end)" in said
    assert main(["show", "ab", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == 3


@pytest.mark.parametrize("arguments", [["accept", "ab/b"], ["check", "ab/a"], ["check", "run", "--against", "ab/a"]])
def test_a_side_of_a_comparison_is_no_run(
    folder: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its times look like a run's, and were taken beside other controls, perhaps with a fault planted."""
    times = InterleavedTimes(schema=2, a="A", b="B", seed=0, most_launches=18, budget_s=None, variables={}, cases=())
    for side in ("a", "b"):
        (folder / "ab" / side).mkdir(parents=True)
        store.save(RUN, folder / "ab" / side)
    interleaved.save(times, folder / "ab")
    assert main(arguments) == 2
    assert "is a side of a comparison, whose times are no run's; `bnsuite show " in capsys.readouterr().err


def test_debug_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "nowhere", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_refused_run_leaves_no_folder(folder: Path) -> None:
    assert main(["--device", "cpu", "-k", "no_such_case", "--out", "new"]) == 2
    assert not (folder / "new").exists()


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the summary, and on `bnsuite --help` all verbs and exit statuses."""
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert VERBS[verb].SUMMARY in said
    if verb == "run":
        assert all(f"  {name}" in said for name in VERBS)
        assert "exit status: 0 nothing wrong" in said


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"bnsuite {__version__}\n"


def test_list_names_the_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "-k", "op/batch_norm1d"]) == 0
    said = capsys.readouterr().out
    assert "op/batch_norm1d/fwd+bwd/f32/nc/64x128" in said
    assert said.endswith(" cases\n")
    assert main(["list", "-k", "resnet50"]) == 0
    assert capsys.readouterr().out.endswith("\n1 case\n")
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert "numerics/stride/..." in said
    assert "are checks; -k lists them" in said


def test_accept_shows_and_writes_and_check_judges(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """First a dry run, then the real one, then the run against itself."""
    assert main(["accept", "run", "--dry-run"]) == 0
    assert "nothing written" in capsys.readouterr().out
    assert not (folder / "baselines").exists()
    assert main(["accept", "run"]) == 0
    assert "wrote baselines/convergence/w.jsonl" in capsys.readouterr().out
    assert main(["check", "run", "--json"]) == 0
    judged = json.loads(capsys.readouterr().out)
    assert judged["schema"] == 2
    assert {(one["case"], one["gate"]): one["verdict"] for one in judged["findings"]}[
        "train/w/bn/x", "convergence"
    ] == "PASS"


def test_accept_waits_while_another_accepts_into_the_same_folder(folder: Path) -> None:
    """It writes nothing while the folder is held, and goes on as soon as it is free."""
    (folder / "baselines").mkdir()
    held = os.open(folder / "baselines", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    accepting = subprocess.Popen(
        [sys.executable, "-m", "bnsuite", "accept", "run"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    waits = re.compile(rf"-> FLOCK .* {accepting.pid} ")
    try:
        for _ in range(6000):  # a minute: where locks aren't told, this fails rather than hangs
            assert accepting.poll() is None, accepting.communicate()[0]
            if waits.search(Path("/proc/locks").read_text()):
                break
            time.sleep(0.01)
        else:
            pytest.fail("accept doesn't wait for the folder, or /proc/locks doesn't tell")
        assert not list((folder / "baselines").iterdir())
        os.close(held)
        said, _ = accepting.communicate()
    finally:
        accepting.kill()
    assert accepting.returncode == 0, said
    assert "wrote baselines/convergence/w.jsonl" in said


def test_check_against_another_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half as fast is status 1, and the last line says so."""
    slow = make_run(result("op/a", timings=(timing(2e-3), timing(2.02e-3), timing(2e-3))), RUN.cases[1])
    (folder / "slow").mkdir()
    store.save(slow, folder / "slow")
    assert main(["check", "slow", "--against", "run"]) == 1
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("REGRESSED: 1 REGRESSED, ")
    assert last.endswith("(exit status 1)")


def test_strict_asks_for_more(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a baseline a run is fine, unless --strict."""
    assert main(["check", "run"]) == 0
    assert main(["check", "run", "--strict"]) == 3
    assert "there is no baselines/ here; name it with --baselines" in capsys.readouterr().out


def test_a_run_of_another_machine_has_no_timing_verdict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "other").mkdir()
    store.save(make_run(*RUN.cases, threads=2), folder / "other")
    assert main(["check", "run", "--against", "other"]) == 0
    assert "other was measured on another machine: threads 2, not 1" in capsys.readouterr().out


def test_an_unexpected_error_is_still_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bug of ours is status 3, so that no caller takes it for a verdict."""

    def broken(_: object) -> int:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(VERBS["show"], "main", broken)
    assert main(["show"]) == 3
    assert capsys.readouterr().err == "bnsuite: RuntimeError: first line; --debug shows where\n"
