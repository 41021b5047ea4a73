"""NVML through the real binding, against a small C library that plays the driver."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

ASK = """
import json
from dataclasses import asdict
from bnsuite.measure import nvml
gpu = nvml.describe("1234")
print(json.dumps([nvml.driver_version(), gpu and asdict(gpu), nvml.used_bytes("GPU-1234")]))
"""


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the compiled stub."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc to compile the NVML stub with")
    folder = tmp_path_factory.mktemp("nvml")
    source = ROOT / "tests" / "nvml_stub.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(folder / "libnvidia-ml.so.1"), str(source)], check=True)
    return folder


def ask(folder: Path | None, plays: str = "") -> list:
    environment = {**os.environ, "NVML_STUB": plays}
    if folder is not None:
        environment["LD_LIBRARY_PATH"] = str(folder)
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_gpu_is_described(stub: Path) -> None:
    """MIG, which the stub's library lacks as older ones do, is unknown; the rest is as the driver says."""
    driver, gpu, used = ask(stub)
    assert driver == ["580.65.06", ""]
    assert gpu == {
        "name": "NVIDIA Stub 1",
        "uuid": "GPU-1234",
        "memory_total_bytes": 1000,
        "power_limit_w": 700.0,
        "mig": None,
    }
    assert used == 300


def test_an_old_driver_leaves_gaps(stub: Path) -> None:
    assert ask(stub, "old")[1]["power_limit_w"] is None


def test_a_gpu_that_is_not_there_is_none(stub: Path) -> None:
    assert ask(stub, "no-gpu") == [["580.65.06", ""], None, None]


def test_no_driver_is_a_reason() -> None:
    """Without a driver the binding says so, and nothing raises."""
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a driver")
    (version, trouble), gpu, used = ask(None)
    assert version is None
    assert "NVML" in trouble
    assert gpu is used is None
