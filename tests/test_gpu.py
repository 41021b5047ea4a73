"""Tests that need a GPU: `make gpu-check` runs those that are not slow; elsewhere pytest skips them."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
import torch

import gpu_agreement
from bnsuite.cases import Case, all_cases, catalogue
from bnsuite.cases.execution import Execution, TimedBy
from bnsuite.cases.op import LayerCase
from bnsuite.measure import devices, environment, nvml
from bnsuite.measure.devices.cuda import Cuda
from bnsuite.measure.timed_case import RUN, build, warmed_up
from conftest import ROOT

pytestmark = pytest.mark.gpu

if not torch.cuda.is_available():
    pytest.skip("there is no GPU here", allow_module_level=True)

DEVICE = Cuda("cuda:0")
#: Seconds for all checks of the full profile.
LIMIT_S = 3600
#: A layer whose kernels are shorter than their launches.
SHORT = "op/batch_norm1d/fwd-train/f32/nc/64x128"
OPS = [case for case in all_cases() if isinstance(case, LayerCase) and case.gpu_only]


def test_the_device_is_found_and_described() -> None:
    """auto is the GPU; NVML knows it by torch's UUID."""
    assert devices.resolve("auto").name == DEVICE.name
    described = environment.describe(DEVICE)
    assert described["gpu"]["nvml"]["name"] == described["gpu"]["name"]
    assert nvml.used_bytes(DEVICE.uuid) > 0


@pytest.mark.parametrize("case", gpu_agreement.CASES, ids=lambda case: case.id)
def test_times_agree_with_triton(case: LayerCase) -> None:
    """Under the same protocol, cold and hot, within 5 % for steps of 100 µs and more; 2 % is the goal."""
    pytest.importorskip("triton.testing")
    for one in gpu_agreement.compare(case, DEVICE):
        print(f"\n{one.line()}")
        assert one.held
        assert one.verdict != "differs"


def test_a_short_step_is_timed_without_its_launch() -> None:
    """Its rounds are held, and the host's time for it is longer than the GPU's."""
    step = build(catalogue.case(SHORT), DEVICE)
    pace = warmed_up(step, DEVICE, TimedBy.DEVICE, 5e-3)
    timed = DEVICE.time_rounds(step, 10, RUN.on(DEVICE).plan([pace])[1])
    print(f"\n{SHORT}: GPU {median(timed.device_s) * 1e6:.2f} µs, host {median(timed.host_s or []) * 1e6:.2f} µs")
    assert timed.held


def test_a_step_that_waits_for_the_gpu_is_not_held() -> None:
    """It is timed as it elapses, and says so."""
    numbers = torch.ones(4, device=DEVICE.name)

    def step() -> None:
        numbers.sum().item()

    assert warmed_up(step, DEVICE, TimedBy.DEVICE, 5e-3).held is False
    assert DEVICE.time_rounds(step, 3, 10).held is False


def test_a_captured_step_held_memory_while_it_was_captured() -> None:
    """A replay takes nothing from the allocator; the peak is that of the same step run eagerly."""
    eager = next(case for case in OPS if case.execution is Execution.NATIVE)
    captured = dataclasses.replace(eager, execution=Execution.GRAPH)
    peaks = [
        DEVICE.memory(build(case, DEVICE))["allocated_peak_bytes"]
        for case in (dataclasses.replace(eager, execution=Execution.EAGER), captured)
    ]
    assert peaks[0] == peaks[1]


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
