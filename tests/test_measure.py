"""The instruments: clock, controls, memory, device. Twins stand in for what needs a GPU."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from bnsuite.measure import clock, device, environment, memory
from bnsuite.measure.control import Controls


class FakeEvent:
    """A CUDA event whose time a test sets, in milliseconds as CUDA gives it."""

    def __init__(self, at_ms: float) -> None:
        self.at_ms, self.waited = at_ms, False

    def synchronize(self) -> None:
        self.waited = True

    def elapsed_time(self, end: FakeEvent) -> float:
        assert end.waited, "an event must be waited for before it is read"
        return end.at_ms - self.at_ms


def test_cuda_marks_subtract_to_seconds() -> None:
    """pytest-benchmark only ever subtracts two marks: the later one is waited for, milliseconds become seconds."""
    begin, end = clock.CudaMark(FakeEvent(10.0)), clock.CudaMark(FakeEvent(12.5))  # type: ignore[arg-type]
    assert end - begin == pytest.approx(2.5e-3)


def test_each_device_has_its_clock() -> None:
    """The name under which pytest-benchmark writes the timer into its JSON."""
    assert clock.for_device("cpu").__name__ == "perf_counter"
    assert clock.for_device("cuda:0").__name__ == "cuda_event"


def test_rounds_are_seconds_a_step() -> None:
    """A clock that ticks once a second, and rounds of four steps."""
    ticks: Iterator[float] = iter(range(100))
    calls: list[None] = []
    samples = clock.time_rounds(lambda: calls.append(None), lambda: next(ticks), rounds=3, iterations=4)
    assert samples == [0.25, 0.25, 0.25]
    assert len(calls) == 12


def test_cpu_memory_is_exact() -> None:
    """A megabyte held beside another is two, one after the other is one; three measurings agree to the byte."""
    mebi = 1 << 20

    def both() -> None:
        one = torch.empty(mebi, dtype=torch.uint8)
        two = torch.empty(mebi, dtype=torch.uint8)
        del one, two

    def in_turn() -> None:
        for _ in range(2):
            torch.empty(mebi, dtype=torch.uint8)

    assert [memory.measure(both, "cpu")["allocated_peak_bytes"] for _ in range(3)] == [2 * mebi] * 3
    assert memory.measure(in_turn, "cpu")["allocated_peak_bytes"] == mebi


def test_batch_norm_memory_is_as_derived() -> None:
    """Output, gradient of the input and gradient of the output alive together; known from hand calculation."""
    from bnsuite.cases import catalogue

    step = catalogue.case("op/batch_norm2d/fwd+bwd/f32/nchw/32x256x14x14").build("cpu")
    step()
    tensor = 32 * 256 * 14 * 14 * 4
    peak = memory.measure(step, "cpu")["allocated_peak_bytes"]
    assert peak is not None
    assert 0 <= peak - 3 * tensor < 16 * 256 * 4


def test_controls_ride_along() -> None:
    """Each control is sampled on both sides of a case."""
    controls = Controls(1 << 16, "cpu", clock.for_device("cpu"))
    controls.sample()
    controls.sample()
    assert set(controls.samples) == {"copy", "linear"}
    assert all(len(samples) == 10 and min(samples) > 0 for samples in controls.samples.values())


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CPU", "cpu:0", "", "mps"])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(device.DeviceError, match="no such device; choose auto, cpu, cuda or cuda:N"):
        device.resolve(name)


def test_no_gpu_is_refused_and_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only auto may fall back; cuda says why, and what to do about it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.resolve("auto") == "cpu"
    monkeypatch.setattr(device.nvml, "driver_version", lambda: (None, "NVML: not found"))
    monkeypatch.setattr(device, "in_container", lambda: False)
    with pytest.raises(device.DeviceError, match=r"no NVIDIA driver is loaded here \(NVML: not found\); install one"):
        device.resolve("cuda")
    monkeypatch.setattr(device, "in_container", lambda: True)
    with pytest.raises(device.DeviceError, match=r"docker run --gpus all.*NVIDIA Container Toolkit"):
        device.resolve("cuda:1")
    monkeypatch.setattr(device.nvml, "driver_version", lambda: ("999.1", ""))
    with pytest.raises(device.DeviceError, match=r"the NVIDIA driver 999\.1 answers, but torch"):
        device.resolve("cuda")
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(device.DeviceError, match="this torch is built without CUDA"):
        device.resolve("cuda")


def test_a_gpu_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device.resolve("cuda:1") == "cuda:1"
    assert device.resolve("auto") == "cuda:0"
    with pytest.raises(device.DeviceError, match="there are 2 GPUs here, numbered from 0"):
        device.resolve("cuda:2")


def test_the_environment_says_what_was_measured() -> None:
    """Versions, processor, threads and flags; no host name and no path of this machine."""
    found = environment.describe("cpu")
    assert found["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert found["threads"] == torch.get_num_threads()
    assert found["gpu"] is None
    assert found["cpu"]
    text = repr(found)
    assert sys.prefix not in text
    host = subprocess.run(["uname", "-n"], capture_output=True, text=True, check=True).stdout.strip()
    assert host not in text
