"""Tests that need a GPU: `make gpu-check` runs those that are not slow; elsewhere pytest skips them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
import torch

from bnsuite.cases import Case, all_cases, catalogue
from bnsuite.cases.op import LayerCase
from bnsuite.measure import devices, environment, nvml
from bnsuite.measure.clock import time_rounds
from bnsuite.measure.devices.cuda import Cuda
from bnsuite.measure.timed_case import build
from bnsuite.measure.warm_up import warm_up
from conftest import ROOT

pytestmark = pytest.mark.gpu

if not torch.cuda.is_available():
    pytest.skip("there is no GPU here", allow_module_level=True)

DEVICE = Cuda("cuda:0")
#: Kernels of 20 µs and more, on one H100 or its like.
LONG_ENOUGH = (
    "op/batch_norm2d/fwd-train/f32/nchw/32x256x56x56",
    "op/batch_norm2d/fwd+bwd/f32/nchw/32x256x56x56",
    "op/batch_norm2d/fwd+bwd/f32/nhwc/32x64x112x112",
)
#: Seconds for all checks of the full profile.
LIMIT_S = 3600
OPS = [case for case in all_cases() if isinstance(case, LayerCase) and case.gpu_only]


def test_the_device_is_found_and_described() -> None:
    """auto is the GPU; NVML knows it by torch's UUID."""
    assert devices.resolve("auto").name == DEVICE.name
    described = environment.describe(DEVICE)
    assert described["gpu"]["nvml"]["name"] == described["gpu"]["name"]
    assert nvml.used_bytes(DEVICE.uuid) > 0


@pytest.mark.parametrize("name", LONG_ENOUGH)
def test_events_agree_with_do_bench(name: str) -> None:
    """The clock of a timing launch and triton.testing.do_bench agree on the time of one step within 2 %."""
    testing = pytest.importorskip("triton.testing")
    step = build(catalogue.case(name), DEVICE)
    step_s = warm_up(step, DEVICE)
    ours_s = median(time_rounds(step, DEVICE.clock, 50, max(1, round(1e-3 / step_s))))
    theirs_s = testing.do_bench(step, warmup=100, rep=500, return_mode="median") / 1e3
    apart = ours_s / theirs_s - 1
    print(f"\n{name}: CUDA events {ours_s * 1e6:.1f} µs, do_bench {theirs_s * 1e6:.1f} µs, {apart:+.2%}")
    assert ours_s == pytest.approx(theirs_s, rel=0.02)


@pytest.mark.parametrize("case", OPS, ids=lambda case: case.id)
def test_every_op_of_a_gpu_runs(case: Case) -> None:
    """Without cuDNN, compiled, cold and replayed from a graph; its memory is exact in three passes."""
    step = build(case, DEVICE)
    assert step() is None
    peaks = {DEVICE.memory(step)["allocated_peak_bytes"] for _ in range(3)}
    assert len(peaks) == 1


@pytest.mark.slow
def test_every_check_holds_on_a_gpu(tmp_path: Path) -> None:
    """A run of them all, compared with what was accepted and pinned, finds nothing wrong and nothing that fails.

    It takes long, and shows how far it is; `make gpu-proofs` does the same and keeps what it has when time is up.
    """
    select = ("--profile", "full", "-k", "numerics or behaviour")
    where = ("--baselines", str(ROOT / "baselines"), "--out", str(tmp_path))
    subprocess.run(
        [sys.executable, "-m", "bnsuite", "--device", DEVICE.name, *select, *where], check=False, timeout=LIMIT_S
    )
    findings = json.loads((tmp_path / "findings.json").read_text(encoding="utf-8"))["findings"]
    wrong = {one["case"]: one["summary"] for one in findings if one["verdict"] in {"REGRESSED", "FAILED"}}
    assert findings
    assert wrong == {}
