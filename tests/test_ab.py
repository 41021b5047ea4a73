"""`bnsuite ab`: two environments of real processes, in turns, with cases that fail in every way a kernel can."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Command

CASE = "op/batch_norm1d/fwd-eval/f32"

StartCommand = Callable[..., "subprocess.Popen[str]"]


def findings(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    found = json.loads((folder / "findings.json").read_text())["findings"]
    return {(one["case"], one["gate"]): one for one in found}


def is_clean(tmp_path: Path) -> bool:
    """Whether no scratch folder is left."""
    return not list((tmp_path / "scratch").iterdir())


@pytest.mark.slow
def test_what_fails_is_told_and_the_rest_goes_on(bnsuite: Command, tmp_path: Path) -> None:
    """A case that raises, hangs or dies on a side is FAILED with that side's name; the others are measured."""
    chosen = "faulty or numerics/reference/batch_norm2d"
    done = bnsuite("ab", ".", ".", "--device", "cpu", "-k", chosen, "--timeout", "5", "--budget", "180s", "--out", "o")
    assert done.status == 3, done.err
    found = findings(tmp_path / "o")
    reasons = {case: one["summary"] for (case, _), one in found.items() if one["verdict"] == "FAILED"}
    assert "an illegal memory access" in reasons["faulty/raises"]
    assert "no answer after 5 s, the limit that --timeout sets" in reasons["faulty/hangs"]
    assert "ended by SIGKILL" in reasons["faulty/dies"]
    assert all(reasons[f"faulty/{how}"].startswith(".: ") for how in ("raises", "hangs", "dies"))
    assert found["faulty/fine", "timing"]["verdict"] in {"PASS", "INCONCLUSIVE"}
    assert found["faulty/prints", "timing"]["verdict"] in {"PASS", "INCONCLUSIVE"}  # what is printed is no answer
    assert {one["verdict"] for (_, gate), one in found.items() if gate == "numerics"} == {"PASS"}
    for name in ("a/run.json", "b/run.json", "interleaved.json", "report.md", "doctor.json"):
        assert (tmp_path / "o" / name).is_file()
    again = bnsuite("show", "o")
    assert again.out.strip().splitlines()[-1] == done.out.strip().splitlines()[-1]
    assert is_clean(tmp_path)


@pytest.mark.slow
def test_the_same_twice_passes_and_a_slower_one_does_not(bnsuite: Command, tmp_path: Path) -> None:
    """Nothing changed is never an alarm; a step of half as long again is found, and again in fresh launches.

    A machine too disturbed for a verdict may try a second time; it never passes what is slower.
    """
    chosen = ("--device", "cpu", "-k", "faulty/fine")
    same = bnsuite("ab", ".", ".", *chosen, "--budget", "100s", "--out", "same")
    assert same.status in {0, 3}, same.out + same.err
    assert findings(tmp_path / "same")["faulty/fine", "timing"]["verdict"] in {"PASS", "INCONCLUSIVE", "INVALID"}
    for _ in range(2):
        slower = bnsuite("ab", ".", ".", *chosen, "--plant", "slower=0.5", "--budget", "250s", "--out", "slower")
        finding = findings(tmp_path / "slower")["faulty/fine", "timing"]
        assert finding["verdict"] in {"REGRESSED", "INCONCLUSIVE", "INVALID"}, slower.out + slower.err
        if finding["verdict"] == "REGRESSED":
            break
    assert slower.status == 1, slower.out + slower.err
    assert "fresh ones" in finding["summary"]
    assert 0.3 < float(finding["change"]) < 0.8


@pytest.mark.slow
def test_every_gate_judges(bnsuite: Command, tmp_path: Path) -> None:
    """More memory in B and a faulty layer in B's place are found by the gates meant for them."""
    chosen = "op/batch_norm2d/fwd-eval/f32/nchw/16x64x56x56"
    more = ("--plant", "holds=4194304", "--budget", "90s")
    held = bnsuite("ab", ".", ".", "--device", "cpu", "-k", chosen, *more, "--out", "held")
    assert held.status == 1, held.out + held.err
    assert findings(tmp_path / "held")[chosen, "memory"]["verdict"] == "REGRESSED"
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\n\ndef factory(channels, **options):\n"
        "    return nn.BatchNorm2d(channels, **{**options, 'eps': 1e-2})\n"
    )
    mine = ("--impl-b", "mine.py:factory", "-k", "numerics/reference/batch_norm2d")
    wrong = bnsuite("ab", ".", ".", "--device", "cpu", *mine, "--out", "wrong")
    assert wrong.status == 1, wrong.out + wrong.err
    assert "with " in wrong.out
    assert {one["verdict"] for (_, gate), one in findings(tmp_path / "wrong").items()} == {"REGRESSED"}


@pytest.mark.slow
def test_an_interrupted_comparison_tells_what_it_has(start: StartCommand, tmp_path: Path) -> None:
    """Ctrl-C: the verdicts so far, exit status 3, and nothing left behind."""
    process = start("ab", ".", ".", "--device", "cpu", "-k", "faulty/fine", "--out", "o")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("timing"):
            break
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "not measured as asked (interrupted)" in out
    assert is_clean(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["."], "missing argument 'B'; see `bnsuite ab --help`"),
        (["nothing", "."], "'nothing' is no environment; write . (this interpreter), python:PATH"),
        ([".", "python:/no/such/thing"], "python:/no/such/thing"),
        ([".", "torch==1.13.1"], "must be torch 2.4 or newer"),
        ([".", ".", "--budget", "5"], "'5' is no duration; write it like 90s, 10m or 2h"),
        ([".", ".", "--plant", "faster=1"], "'faster=1' is no fault; write it like slower=0.03"),
        ([".", ".", "--impl-b", "mine.py:factory"], "there is no file mine.py"),
        ([".", ".", "-k", "no-such-case"], "matches none of the"),
    ],
)
def test_wrong_input_is_one_line(bnsuite: Command, arguments: list[str], said: str) -> None:
    done = bnsuite("ab", *arguments, "--device", "cpu")
    assert done.status == 2
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_an_environment_without_torch_is_named(bnsuite: Command, tmp_path: Path) -> None:
    """The trusted side is this interpreter, the judged one an empty virtual environment."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    done = bnsuite("ab", ".", f"python:{tmp_path / 'bare'}", "--device", "cpu", "-k", CASE, PYTHONPATH="")
    assert done.status == 2, done.out + done.err
    assert str(tmp_path / "bare") in done.err
    assert "torch" in done.err
    assert is_clean(tmp_path)
