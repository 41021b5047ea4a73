"""The command line: wrong input is one line that names the thing, the cause and the fix."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bnsuite import __version__
from bnsuite.cli import output
from bnsuite.cli.command import COMPLETION_VARIABLE, VERBS, main
from bnsuite.cli.options import ShowOptions
from bnsuite.cli.verdicts import judged, show_run
from bnsuite.judge.gates import judge
from bnsuite.record import interleaved, store
from bnsuite.record.errors import NotMeasuredError
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.key import machine_key
from bnsuite.record.reference import from_run
from bnsuite.record.schema import RunKind
from bnsuite.report.detail import Detail
from bnsuite.report.judged import RunReport
from conftest import curve, make_run, result, timing

RUN = make_run(
    result("op/a", timings=(timing(1e-3), timing(1e-3), timing(1.01e-3))),
    result("train/w/bn/x", timings=(timing(1e-2),) * 3, curves=tuple(curve(seed) for seed in range(3))),
)

SHOW = ShowOptions(as_json=False, detail=Detail.NEWS, color="auto")


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
        (["bench"], "'bench' is not a verb; choose from run, list, ab, bisect, check, accept, calibrate, show"),
        (["--devise", "cpu"], "no such option '--devise'; did you mean '--device'?; see `bnsuite run --help`"),
        (["show", "--strict"], "no such option '--strict'; see `bnsuite show --help`"),
        (["--device", "gpu"], "--device gpu: no such device; choose auto, cpu, cuda or cuda:N"),
        (["--device"], "option '--device' requires an argument; see `bnsuite"),
        (["--profile", "nightly"], "--profile: 'nightly' is not one of 'quick', 'full'; see"),
        (["--timeout", "-1"], "--timeout: '-1' is not a positive number"),
        (["--timeout", "inf"], "--timeout: 'inf' is not a positive number"),
        (["--threads", "two"], "--threads: 'two' is not a positive whole number"),
        (["--threads", "4096"], "--threads 4096: there are "),
        (
            ["--impl", "module"],
            "implementation module: write it like package.module:factory or path/to/file.py:factory",
        ),
        (["--impl", "nowhere.py:f"], "implementation nowhere.py:f: there is no file nowhere.py"),
        (["--device", "cpu", "--impl", "no_such:f"], "implementation no_such:f: no_such can't be imported: ModuleNot"),
        (["--device", "cpu", "--impl", "json:no_such"], "implementation json:no_such: json has no callable 'no_such'"),
        (["--out", ""], "--out: the path is empty"),
        (["check", ""], "RUN: the path is empty"),
        (["check", "run", "--baselines", ""], "--baselines: the path is empty"),
        (["accept", "run", "--dry-run", "--baselines", "run/run.json"], "run/run.json: is a file; name a folder"),
        (["--device", "cpu", "-k", "a or"], "-k 'a or': a word is missing at the end"),
        (["--device", "cpu", "-k", "no_such_case"], "-k 'no_such_case' matches none of the "),
        (["--device", "cpu", "--profile=full", "-k", "resnet50"], "the 1 case chosen needs a GPU; --device cuda"),
        (["--device", "cpu", "--profile=full", "-k", "cold"], "cases chosen need a GPU; --device cuda measures them"),
        (["--device", "cpu", "-k", "vgg11"], "cases of the quick profile, but 4 of the full one: --profile full"),
        (["ab", ".", ".", "--device", "cpu", "-k", "ratio/layouts"], "matches ratios only, which compare two "),
        (
            ["ab", ".", ".", "--index-url", "https://h/simple"],
            "--index-url: no environment is a release of torch; leave",
        ),
        (
            ["ab", ".", ".", "--extra-index-url", "http://me:x y@h"],
            "--extra-index-url: is no address of a package index",
        ),
        (["ab", ".", ".", "--index-url", "https://h:port/simple"], "--index-url: is no address of a package index; "),
        (["list", "-k", "no_such_case"], "-k 'no_such_case' matches none of the "),
        (["--out", "run/run.json"], "run/run.json: cannot be written to: File exists"),
        (["--out", "run/run.json/x"], "run/run.json/x: cannot be written to: Not a directory"),
        (["--out", "/proc/x"], "/proc/x: cannot be written to: No such file or directory; choose another folder"),
        (["--baselines", "nowhere"], "--baselines nowhere: there is no such folder; `bnsuite accept` makes one"),
        (["check", "run", "--baselines", "run/run.json"], "--baselines run/run.json: is a file; name a folder"),
        (["selftest", "--device", "cuda:99", "--out", "new"], "--device cuda:99: "),
        (["check", "nowhere"], "nowhere: there is no run there; name the folder that a run wrote"),
        (["check", "run", "--against", "nowhere"], "nowhere: there is no run there"),
        (["check", "run", "--against", "run", "--baselines", "."], "--against: not allowed with --baselines; see"),
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
    verdicts = judged(slow, judge(slow, accepted), accepted, strict=False)
    assert show_run(RunReport(slow, verdicts, folder=folder / "gone"), SHOW, written=True) == 1
    said = capsys.readouterr()
    assert "gone/findings.json: cannot be written: No such file or directory" in said.err
    assert said.out.rstrip().endswith("(exit status 1)")
    verdicts = judged(RUN, judge(RUN, accepted), accepted, strict=False)
    assert show_run(RunReport(RUN, verdicts, folder=folder / "gone"), SHOW, written=True) == 2
    said = capsys.readouterr()
    assert "gone/findings.json: cannot be written" in said.err
    assert said.out.rstrip().endswith("(exit status 2)")  # the last line has the status that the command ends with
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


@pytest.mark.parametrize(
    "arguments", [["accept", "copied"], ["check", "copied"], ["check", "run", "--against", "copied/run.json"]]
)
def test_a_side_of_a_comparison_is_no_run(
    folder: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever it was copied to: the file itself says what it is, and which fault was injected."""
    side = RUN.model_copy(update={"kind": RunKind.SIDE, "side": "b", "injected": {"slower": 0.5}})
    (folder / "copied").mkdir()
    store.save(side, folder / "copied")
    assert main(arguments) == 2
    assert "is side B of a comparison, whose times are no run's; `bnsuite show` " in capsys.readouterr().err
    assert not (folder / "baselines").exists()


def test_debug_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "nowhere", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_refused_run_leaves_no_folder(folder: Path) -> None:
    assert main(["--device", "cpu", "-k", "no_such_case", "--out", "new"]) == 2
    assert not (folder / "new").exists()


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the verb and its options, in 80 columns."""
    assert main([verb, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Usage: bnsuite {verb} ")
    assert "--debug" in said
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize("words", [["--help"], ["help"], ["-h"], ["--debug", "--help"]])
def test_the_help_names_verbs_and_statuses(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With the options of the verb that may be left out."""
    assert main(words) == 0
    said = capsys.readouterr().out
    assert all(f"  {name}" in said for name in VERBS)
    assert "--device" in said
    assert "Exit status: 0 nothing wrong" in said


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"bnsuite {__version__}\n"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("bnsuite bis", "bisect"),
        ("bnsuite --dev", "--device"),
        ("bnsuite ab --bud", "--budget"),
        ("bnsuite --device cpu --prof", "--profile"),
    ],
)
def test_a_shell_completes_verbs_and_options(
    typed: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By click's own protocol, which `eval "$(_BNSUITE_COMPLETE=bash_source bnsuite)"` sets up."""
    monkeypatch.setenv(COMPLETION_VARIABLE, "bash_complete")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    assert main([]) == 0
    assert f"plain,{expected}" in capsys.readouterr().out.splitlines()


def test_a_closed_stderr_is_no_error(folder: Path) -> None:
    """Whoever starts a command with 2>&- gets its verdicts and its status."""
    command = f"{sys.executable} -m bnsuite check run --against run 2>&-"
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S602
    assert done.returncode == 0
    assert done.stdout.rstrip().endswith("(exit status 0)")


def test_list_names_the_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "-k", "op/batch_norm1d"]) == 0
    said = capsys.readouterr().out
    assert "op/batch_norm1d/fwd+bwd/f32/nc/64x128" in said
    assert said.endswith(" cases\n")
    assert main(["list", "-k", "resnet50"]) == 0
    assert capsys.readouterr().out.endswith("\n1 case\n")
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert "numerics/strides/..." in said
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


def test_a_report_is_short_whole_or_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As is asked for with --all and --quiet; colours are there if they are forced."""
    shown = {}
    for option in ((), ("--all",), ("-q",), ("--color", "always")):
        assert main(["check", "run", "--against", "run", *option]) == 0
        shown[option] = capsys.readouterr().out
    assert shown["-q",].count("\n") == 1
    assert "verdict\n" in shown["--all",]
    assert "verdict\n" not in shown[()]
    assert shown[()].endswith(shown["-q",])
    assert "\x1b[1m" in shown["--color", "always"]
    assert "\x1b" not in shown[()]
    assert main(["check", "run", "--all", "--json"]) == 2
    assert "--json: not allowed with --all" in capsys.readouterr().err


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

    monkeypatch.setattr("bnsuite.record.store.folder_of", broken)
    assert main(["show"]) == 3
    assert capsys.readouterr().err == "bnsuite: RuntimeError: first line; --debug shows where\n"


def test_a_value_may_be_the_name_of_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    """Only the first word is looked at."""
    assert main(["--debug", "-k", "show", "--device", "gpu"]) == 2
    assert capsys.readouterr().err.endswith("cpu, cuda or cuda:N (`bnsuite run` also takes cuda:all)\n")


def test_check_looks_only_at_the_variables_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --confirm it needs no images, and held against a run no baselines."""
    monkeypatch.setenv("BNSUITE_DATA", "nowhere")
    monkeypatch.setenv("BNSUITE_BASELINES", "nowhere")
    assert main(["check", "run", "--against", "run"]) == 0
    assert main(["check", "run"]) == 2


def test_what_ends_a_run_has_its_status_and_costs_no_verdicts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The environment may be gone after hours: what was measured before is judged and written."""
    accepted = from_run(RUN, "accepted", machine_key(RUN))
    ended = RUN.model_copy(update={"finished": False, "ended_by": "docker:x: is gone"})
    verdicts = judged(ended, judge(ended, accepted), accepted, strict=False)
    error = NotMeasuredError("docker:x: is gone")
    assert show_run(RunReport(ended, verdicts, folder=folder / "run"), SHOW, written=True, error=error) == 3
    assert "(exit status 3)" in capsys.readouterr().out
    assert (folder / "run" / "report.md").exists()
    assert json.loads((folder / "run" / "findings.json").read_text())["status"] == 3


def test_results_go_to_stdout_while_a_bar_is_on_the_terminal() -> None:
    """On a terminal the bar has stderr, and nothing of stdout goes there."""
    code = (
        "from bnsuite.cli.output import progress, say\nfrom bnsuite.launch.progress import Progress\n"
        "with progress() as notify:\n    notify(Progress('timing', 'op/x', 1, 2))\n    say('the answer')\n"
    )
    ours, theirs = pty.openpty()
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, check=True, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert done.stdout.decode() == "the answer\n"
    assert "timing: op/x" in shown
    assert "the answer" not in shown
