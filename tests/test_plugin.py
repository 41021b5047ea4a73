"""`pytest suite`: the cases for users of plain pytest-benchmark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT


def pytest_suite(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "suite", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env={**environment, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_plain_pytest_benchmark(tmp_path: Path) -> None:
    """Options, -k and --benchmark-json as everywhere; the ids and the timer stand in the JSON."""
    out = tmp_path / "out.json"
    done = pytest_suite(
        tmp_path,
        "--device",
        "cpu",
        "-k",
        "(batch_norm1d and not ratio) or (cnn and none)",
        f"--benchmark-json={out}",
        "-q",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = {one["param"]: one for one in json.loads(out.read_text())["benchmarks"]}
    assert next(iter(found)) == "op/batch_norm1d/fwd-train/f32/nc/64x128"
    training = found["train/cnn/none/data=digits"]
    assert training["stats"]["rounds"] == 10
    assert training["stats"]["iterations"] == 1
    assert training["extra_info"] == {"case": "train/cnn/none/data=digits", "version": 1, "device": "cpu"}
    assert training["options"]["timer"] == "perf_counter"
    assert training["options"]["disable_gc"]


def test_the_json_of_a_ratio_holds_one_step_and_no_sum(tmp_path: Path) -> None:
    """Its seconds are those of the ratio's own case, which extra_info names beside the case it is compared with."""
    out = tmp_path / "out.json"
    select = "ratio and layer-vs-composition and bwd"
    done = pytest_suite(tmp_path, "--device", "cpu", "-k", select, f"--benchmark-json={out}", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads(out.read_text())["benchmarks"]
    assert found["options"]["timer"] == "seconds_of_case"
    info = found["extra_info"]
    assert info["case"].endswith(info["times"].removeprefix("op/"))
    assert info["partner"].startswith("op/composition/")
    assert found["stats"]["rounds"] >= 8
    assert found["stats"]["min"] > 0


def test_without_benchmarking_the_steps_just_run(tmp_path: Path) -> None:
    """As --benchmark-disable promises."""
    done = pytest_suite(tmp_path, "--device", "cpu", "-k", "batch_norm1d and not ratio", "--benchmark-disable", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_an_unusable_device_ends_at_once(tmp_path: Path) -> None:
    """A usage error of pytest's own kind, in one line."""
    done = pytest_suite(tmp_path, "--device", "gpu", "-q")
    assert done.returncode == 4
    assert "--device gpu: no such device; choose auto, cpu, cuda or cuda:N" in done.stdout + done.stderr


@pytest.mark.slow
def test_what_cannot_be_measured_here_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too large for a CPU, or without its data: a skip with the reason, and the JSON of the rest is whole."""
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out.json"
    select = "(train and resnet50) or (mnist-6k and cnn and gn) or (op and batch_norm1d and fwd-eval and 64x128)"
    monkeypatch.setenv("BNSUITE_DATA", str(tmp_path / "empty"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # no download either
    done = pytest_suite(
        *(tmp_path, "--device", "cpu", "--profile", "full", "-k", select, f"--benchmark-json={out}", "-q", "-rs")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 2 skipped" in done.stdout
    assert "on a GPU only" in done.stdout
    assert "lacks 4 of the 4 archives" in done.stdout
    assert len(json.loads(out.read_text())["benchmarks"]) == 1
