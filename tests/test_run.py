"""`bnsuite run`: real measured processes, with cases that fail in every way a kernel can."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import ROOT, Command, Finished


def outcomes(folder: Path) -> dict[str, str]:
    run = json.loads((folder / "run.json").read_text())
    return {
        case["case"]["id"]: case["outcomes"]["timing"]["status"]
        for case in run["cases"]
        if "timing" in case["outcomes"]
    }


def require_nothing_wrong(done: Finished, folder: Path) -> None:
    """Fails unless nothing is wrong: status 0, or 3 for times that a busy machine has made INVALID."""
    verdicts = {one["verdict"] for one in json.loads((folder / "findings.json").read_text())["findings"]}
    assert not verdicts & {"REGRESSED", "FAILED", "MISSING"}, done.out
    assert done.status == (3 if "INVALID" in verdicts else 0), done.err


def test_measures_judges_prints_and_writes(bnsuite: Command, tmp_path: Path) -> None:
    """The way every user walks: a table, a one-line summary, and four kinds of files in the results folder."""
    select = "op/batch_norm1d or (synthetic-mlp and bn and 0.01)"
    done = bnsuite("--device", "cpu", "-k", select, "--out", "out", "--all")
    out = tmp_path / "out"
    require_nothing_wrong(done, out)
    assert "train/synthetic-mlp/bn/lr=0.01" in done.out
    assert done.out.strip().splitlines()[-1].endswith(f"(exit status {done.status})")
    assert (out / "report.md").read_text().startswith("# bnsuite")
    findings = json.loads((out / "findings.json").read_text())
    assert {one["verdict"] for one in findings["findings"] if one["gate"] != "timing"} == {"NO_BASELINE"}
    assert {one["verdict"] for one in findings["findings"]} <= {"NO_BASELINE", "INVALID"}
    assert findings["status"] == done.status
    run = json.loads((out / "run.json").read_text())
    assert run["finished"]
    training = next(case for case in run["cases"] if case["case"]["family"] == "train")
    assert [curve["seed"] for curve in training["curves"]] == [0, 1, 2]
    assert len(training["timings"]) >= 3  # a launch that was disturbed is repeated
    assert {len(launch["samples_s"]) for launch in training["timings"]} == {25}  # whole epochs
    compared = subprocess.run(
        ["pytest-benchmark", "compare", *map(str, sorted((out / "pytest-benchmark").iterdir()))],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    assert "op/batch_norm1d/fwd+bwd/f32/nc/64x128" in compared.stdout


@pytest.mark.slow
def test_accept_then_check_passes_on_curves(bnsuite: Command, tmp_path: Path) -> None:
    """What was accepted is what the next run is held against, and equal curves pass at once."""
    require_nothing_wrong(bnsuite("--device", "cpu", "-k", "cnn and bn", "--out", "a"), tmp_path / "a")
    accepted = bnsuite("accept", "a", "--baselines", "base")
    assert "new: 3 seeds" in accepted.out
    done = bnsuite("--device", "cpu", "-k", "cnn and bn", "--out", "b", "--baselines", "base")
    require_nothing_wrong(done, tmp_path / "b")
    shown = json.loads(bnsuite("show", "b", "--json").out)
    verdicts = {one["gate"]: one for one in shown["findings"]}
    assert verdicts["convergence"]["verdict"] == "PASS"
    assert verdicts["convergence"]["summary"] == "curves equal to the last bit, 3 seeds"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("raises", "RuntimeError: CUDA error: an illegal memory access was encountered"),
        ("hangs", "no result after 15 s, the limit that --timeout sets"),
        ("dies", "the process was ended by SIGKILL"),
    ],
)
def test_a_case_that_fails_costs_only_itself(bnsuite: Command, tmp_path: Path, how: str, reason: str) -> None:
    """A step that raises, hangs or kills its process is FAILED with the reason; the other cases go on; status 3."""
    done = bnsuite(
        "--device", "cpu", "-k", f"faulty/{how} or faulty/fine or faulty/prints", "--timeout", "15", "--out", "o"
    )
    assert done.status == 3
    assert reason in done.out
    assert "Traceback" not in done.out + done.err
    assert outcomes(tmp_path / "o") == {
        "faulty/fine": "measured",
        f"faulty/{how}": "failed",
        "faulty/prints": "measured",
    }
    assert left_over(tmp_path) == []
    if how == "raises":  # the traceback is kept where the line on stderr says
        assert "what the measured processes printed is in o/log/" in done.err
        assert "def raises" in (tmp_path / "o" / "log" / "launch.txt").read_text()


@pytest.mark.slow
def test_a_planted_slowdown_is_found_and_confirmed(bnsuite: Command, tmp_path: Path) -> None:
    """A step that does fifty times the work is REGRESSED, status 1, after three fresh launches showed it again.

    A machine that changes its speed just then may withhold the verdict, so a second try is fair; it never passes.
    """
    for _ in range(4):
        bnsuite("--device", "cpu", "-k", "faulty/spins", "--out", "a")
        if bnsuite("accept", "a", "--baselines", "base").status != 0:
            continue
        done = bnsuite("--device", "cpu", "-k", "faulty/spins", "--out", "b", "--baselines", "base", SPIN="1000000")
        assert "PASS" not in done.out
        if done.status == 1:
            break
    assert done.status == 1, done.out
    assert "REGRESSED timing, faulty/spins\n" in done.out
    assert "slower by " in done.out
    run = json.loads((tmp_path / "b" / "run.json").read_text())
    assert [one["confirms"] for one in run["cases"][0]["timings"]].count(True) >= 3
    assert json.loads((tmp_path / "b" / "findings.json").read_text())["status"] == 1


@pytest.mark.slow
def test_a_core_that_is_shared_gives_no_verdict(bnsuite: Command, tmp_path: Path) -> None:
    """Beside a busy process on every core times are twice as long: INVALID after repeats, and never a regression."""
    assert bnsuite("--device", "cpu", "-k", "op/batch_norm1d and fwd-eval", "--out", "a").status == 0
    assert bnsuite("accept", "a", "--baselines", "base").status == 0
    busy = [
        subprocess.Popen([sys.executable, "-c", f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"])
        for core in os.sched_getaffinity(0)
    ]
    try:
        done = bnsuite("--device", "cpu", "-k", "op/batch_norm1d and fwd-eval", "--out", "b", "--baselines", "base")
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert done.status == 3, done.out
    assert "INVALID timing, op/batch_norm1d/fwd-eval/f32/nc/64x128\n    something else had the core in" in done.out
    assert "timing again: disturbed before, launch 4" in done.err
    run = json.loads((tmp_path / "b" / "run.json").read_text())
    assert len(run["cases"][0]["timings"]) == 6  # three, and three repeats


def test_a_run_in_which_everything_failed_is_never_fine(bnsuite: Command) -> None:
    """Nothing measured, status 3."""
    assert bnsuite("--device", "cpu", "-k", "faulty/dies", "--out", "o").status == 3


@pytest.mark.parametrize("with_what", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_keeps_and_shows_what_it_has(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, with_what: signal.Signals
) -> None:
    """Ctrl-C (or `docker stop`) ends every process at once; what was measured is on disk and in the table."""
    process = start("--device", "cpu", "-k", "faulty/fine or faulty/hangs", "--out", "o")
    path = tmp_path / "o" / "run.json"
    for _ in range(6000):
        if path.exists() and '"measured"' in path.read_text():
            break
        time.sleep(0.1)
    for _ in range(3):  # impatience spoils nothing
        process.send_signal(with_what)
        time.sleep(0.02)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 3, err
    assert "not measured as asked (interrupted)" in out
    assert "Traceback" not in out + err
    assert outcomes(tmp_path / "o")["faulty/fine"] == "measured"
    assert json.loads(path.read_text())["ended_by"] == "interrupted"
    assert left_over(tmp_path) == []


def left_over(folder: Path) -> list[str]:
    """Processes that know of `folder`, and scratch folders that lie about in its TMPDIR."""
    processes = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has just ended, or is somebody else's
            if str(folder / "path").encode() in path.read_bytes():
                processes.append(path.parent.name)
    return [*processes, *(str(path) for path in (folder / "scratch").iterdir())]


def test_interrupted_before_anything_is_measured(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    """Ctrl-C while it starts the first processes ends it at once, and leaves nothing behind."""
    process = start("--device", "cpu")
    started = False
    while process.poll() is None and not started:
        with contextlib.suppress(OSError):  # a thread that has just ended
            started = any(path.read_text() for path in Path(f"/proc/{process.pid}/task").glob("*/children"))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (3, "bnsuite: interrupted\n")
    assert left_over(tmp_path) == []
    assert list((tmp_path / "results").iterdir()) == []


@pytest.mark.parametrize("module", ["bnsuite.cli.run", "bnsuite.experiments.run", "bnsuite.launch.session", "pydantic"])
def test_interrupted_while_it_still_imports(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, module: str
) -> None:
    """One line and status 3, even out of exec(), by which a plain KeyboardInterrupt ends Python with SIGINT."""
    (tmp_path / "path" / "sitecustomize.py").write_text(
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}:\n"
        "            exec('import os; os.kill(os.getpid(), 2)\\nfor _ in range(1000): pass')\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    process = start("--device", "cpu")
    try:
        _, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert (process.returncode, err) == (3, "bnsuite: interrupted\n")
    assert left_over(tmp_path) == []


def test_a_pytest_that_says_nothing_ends_the_run(bnsuite: Command, tmp_path: Path) -> None:
    """Each case is FAILED with what is known, and the run comes to its end."""
    (tmp_path / "path" / "pytest.py").write_text("raise SystemExit(0)")
    done = bnsuite("--device", "cpu", "-k", "faulty/fine", "--out", "o")
    assert done.status == 3
    assert "the timing process: it ended without a word of any case" in done.out


@pytest.mark.slow
def test_a_second_run_into_the_same_folder_leaves_no_old_verdicts(bnsuite: Command, tmp_path: Path) -> None:
    """In a container every run goes to /results. What lies where no run was is none of ours, and stays."""
    run = ("--device", "cpu", "-k", "faulty/fine", "--out", "o")
    (tmp_path / "o" / "figures").mkdir(parents=True)
    (tmp_path / "o" / "figures" / "mine.png").write_text("the user's")
    assert bnsuite(*run).status in {0, 3}  # 3: another process may have had the core
    assert (tmp_path / "o" / "figures" / "mine.png").read_text() == "the user's"
    old = ("findings.json", "report.md", "pytest-benchmark/launch-7.json", "log/time.txt")
    (tmp_path / "o" / "log").mkdir()
    for name in old:
        (tmp_path / "o" / name).write_text("old")
    assert bnsuite(*run).status in {0, 3}  # 3: another process may have had the core
    assert (tmp_path / "o" / "findings.json").read_text() != "old"
    assert (tmp_path / "o" / "report.md").read_text() != "old"
    assert not any((tmp_path / "o" / name).exists() for name in old[2:])


@pytest.mark.slow
def test_a_command_that_is_refused_leaves_an_earlier_one_as_it_was(bnsuite: Command, tmp_path: Path) -> None:
    """Whether the cases, the baselines or an environment can't be had: what was measured is there, and shown."""
    assert bnsuite("--device", "cpu", "-k", "faulty/fine", "--out", "o").status in {0, 3}
    before = {path: path.read_bytes() for path in (tmp_path / "o").rglob("*") if path.is_file()}
    (tmp_path / "baselines" / "checks").mkdir(parents=True)
    (tmp_path / "baselines" / "checks" / "cpu.jsonl").write_text("no JSON")
    refused = (
        ("-k", "no_such_case"),
        ("-k", "faulty/fine", "--baselines", "baselines"),
        ("ab", f"python:{tmp_path / 'path'}", ".", "-k", "faulty/fine"),
        ("ab", ".", "docker:nobody/has-this:1", "-k", "faulty/fine"),
    )
    for words in refused:
        assert bnsuite(*words, "--device", "cpu", "--out", "o").status == 2, words
        assert {path: path.read_bytes() for path in (tmp_path / "o").rglob("*") if path.is_file()} == before, words


def test_a_full_disk_is_told_in_one_line(bnsuite: Command, tmp_path: Path) -> None:
    """What was measured is shown, the line names the file and the hint, and the status is 2."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        done = bnsuite("--device", "cpu", "-k", "op/batch_norm", "--out", "small/o", "--all")
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert done.status == 2
    assert "No space left on device; free some space" in done.err
    assert "Traceback" not in done.err
    assert "op/batch_norm1d" in done.out


def test_a_missing_gpu_is_told_in_one_line(bnsuite: Command) -> None:
    """--device cuda never falls back to the CPU."""
    done = bnsuite("--device", "cuda", CUDA_VISIBLE_DEVICES="")
    assert done.status == 2
    assert done.err.count("\n") == 1
    assert "--device cuda: " in done.err
    assert "--device cpu" in done.err or "CUDA_VISIBLE_DEVICES" in done.err


@pytest.mark.slow
def test_what_cannot_be_measured_here_is_skipped_with_the_reason(bnsuite: Command, tmp_path: Path) -> None:
    """No MNIST and no way to it: SKIPPED, status 0, and 3 with --strict; what needs a GPU is left out and counted.

    Nothing is timed, which a busy machine may make INVALID.
    """
    (tmp_path / "empty").mkdir()
    no_network = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    check = "numerics/eval-backward/batch_norm1d/nc/dy=contiguous"
    select = f"mnist-6k and lr=0.01 and bn or resnet50 or {check}"
    done = bnsuite(
        *("--device", "cpu", "--profile", "full", "-k", select, "--data-dir", "empty", "--out", "o"), **no_network
    )
    assert done.status == 0, done.err
    assert "SKIPPED convergence" in done.out
    assert "lacks 4 of the 4 archives and they can't be downloaded" in done.out
    assert "name a folder that has them with --data-dir" in done.out
    assert "resnet50" not in done.out
    assert "(2 more need a GPU)" in done.out
    run = json.loads((tmp_path / "o" / "run.json").read_text())
    statuses = {gate: one["status"] for case in run["cases"] for gate, one in case["outcomes"].items()}
    assert statuses == {"numerics": "measured", "convergence": "skipped"}
    assert bnsuite("check", "o", "--strict").status == 3


def test_a_data_folder_that_is_named_must_be_there(bnsuite: Command) -> None:
    """By option or by variable, in one line."""
    done = bnsuite("--device", "cpu", "--data-dir", "nowhere")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "--data-dir nowhere: there is no such folder" in done.err
    assert "BNSUITE_DATA nowhere: there is no such folder" in bnsuite("list", BNSUITE_DATA="nowhere").err


@pytest.mark.slow
def test_a_training_leaves_its_details_and_its_claims(bnsuite: Command, tmp_path: Path) -> None:
    """trainings/ has a file for it; report.md says what the articles claim; an old run's file is gone."""
    (tmp_path / "o" / "trainings").mkdir(parents=True)
    (tmp_path / "o" / "trainings" / "old.jsonl").write_text("old")
    (tmp_path / "o" / "run.json").write_text("old")
    require_nothing_wrong(bnsuite("--device", "cpu", "-k", "bad-init", "--out", "o"), tmp_path / "o")
    assert {path.name for path in (tmp_path / "o" / "trainings").iterdir()} == {
        "bad-init-regression__bn__act=tanh.jsonl",
        "bad-init-regression__none__act=tanh.jsonl",
    }
    report = (tmp_path / "o" / "report.md").read_text()
    assert "## What the articles claim" in report
    assert "bad-init-regression act=tanh" in report
    assert "saturated values" in bnsuite("claims", "o").out


def test_the_quick_checks_hold_on_this_torch(bnsuite: Command) -> None:
    """Nothing is wrong with torch's own layers but what is pinned, with its reason."""
    select = "(numerics or behaviour) and not broken"
    done = bnsuite("--device", "cpu", "-k", select, "--out", "o", "--baselines", str(ROOT / "baselines"))
    assert done.status == 0, done.out
    assert "REGRESSED" not in done.out
    assert "with a known deviation (pinned)" in done.out


@pytest.mark.slow
def test_a_check_that_fails_costs_only_itself(bnsuite: Command, tmp_path: Path) -> None:
    """It kills its process or hangs: FAILED with the reason; the others are looked at; status 3."""
    done = bnsuite("--device", "cpu", "-k", "behaviour/broken or numerics/eval-backward/batch_norm1d", "--out", "o")
    assert done.status == 3
    assert "the process was ended by SIGKILL" in done.out
    assert "no answer after 5 s, the limit of this check" in done.out
    assert "there is nothing of it here" in done.out
    run = json.loads((tmp_path / "o" / "run.json").read_text())
    others = [one for one in run["cases"] if "eval-backward" in one["case"]["id"]]
    assert {one["outcomes"]["numerics"]["status"] for one in others} == {"measured"}
    assert left_over(tmp_path) == []


@pytest.mark.slow
def test_an_implementation_is_judged_in_the_place_of_torchs(bnsuite: Command, tmp_path: Path) -> None:
    """A wrong eps is REGRESSED by name of rule; what it refuses is SKIPPED; its run is no baseline."""
    faults = str(ROOT / "tests" / "faults.py")
    done = bnsuite("--device", "cpu", "--impl", f"{faults}:FixedEpsilon", "-k", "numerics/reference", "--out", "o")
    assert done.status == 1, done.out
    assert "faults.py:FixedEpsilon in the place of torch's batch norm" in done.out
    assert "; the rule: " in done.out
    refused = bnsuite("accept", "o", "--baselines", "base")
    assert refused.status == 2
    assert "baselines are of torch's own layers" in refused.err
    (tmp_path / "mine.py").write_text("def layer(*_, **__):\n    raise NotImplementedError('only on Sundays')\n")
    done = bnsuite(
        "--device", "cpu", "--impl", "mine:layer", "-k", "64x128 and fwd-eval or eval-backward/batch_norm1d/2-d"
    )
    assert "SKIPPED" in done.out
    assert "the implementation does not do it: only on Sundays" in done.out
    trained = bnsuite("--device", "cpu", "--impl", "mine:layer", "-k", "synthetic-mlp/bn/lr=0.01", "--out", "t")
    assert trained.status == 3, trained.out  # nothing was measured
    assert "2 SKIPPED in 1 case" in trained.out
    assert "JSON may be missing" not in trained.err
    assert not (tmp_path / "t" / "log").exists()


@pytest.mark.slow
def test_a_relation_is_judged_by_its_bound(bnsuite: Command, tmp_path: Path) -> None:
    """Two steps in turns, one value a launch, and no baseline: beside its bound it may be undecided, never unknown."""
    done = bnsuite("--device", "cpu", "-k", "ratio/eval-vs-train", "--out", "o")
    findings = json.loads((tmp_path / "o" / "findings.json").read_text())["findings"]
    assert {one["verdict"] for one in findings} <= {"PASS", "INCONCLUSIVE", "INVALID"}, done.out
    run = json.loads((tmp_path / "o" / "run.json").read_text())
    for launch in run["cases"][0]["timings"]:
        assert len(launch["samples_s"]) == len(launch["controls_s"]["partner"])
    benchmarks = json.loads((tmp_path / "o" / "pytest-benchmark" / "launch-1.json").read_text())["benchmarks"]
    assert [one["name"].startswith("test_ratio[ratio/") for one in benchmarks] == [True] * len(findings)


def test_a_dry_run_tells_the_plan_and_measures_nothing(bnsuite: Command, tmp_path: Path) -> None:
    """One line on stdout; no folder is made."""
    done = bnsuite("--device", "cpu", "-k", "op/batch_norm1d", "--dry-run", "--out", "o")
    assert done.status == 0, done.err
    assert "by plan" in done.out
    assert "3 timed cases in 3 launches" in done.out
    assert not (tmp_path / "o").exists()


def test_a_budget_that_is_too_short_measures_nothing_and_says_so(bnsuite: Command, tmp_path: Path) -> None:
    """Status 3, as for every run that measures nothing; one item names what is left, and nothing has failed."""
    done = bnsuite("--device", "cpu", "-k", "faulty/fine or numerics/offsets", "--budget", "1s", "--out", "o")
    assert done.status == 3, done.err
    assert "INCONCLUSIVE numerics, timing, 10 cases\n    the budget ended before they were measured\n" in done.out
    assert "FAILED" not in done.out
    run = json.loads((tmp_path / "o" / "run.json").read_text())
    assert (run["finished"], run["ended_by"], run["options"]["budget_s"]) == (True, "budget", 1.0)
