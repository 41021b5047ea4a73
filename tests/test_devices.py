"""The devices: how one is chosen, what each answers, and that nothing else in the timed path knows which it is."""

from __future__ import annotations

import inspect
import re
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bnsuite.cases.execution import Execution
from bnsuite.measure import devices
from bnsuite.measure.devices import cuda, cuda_availability
from bnsuite.measure.devices.cuda import Cuda
from bnsuite.measure.devices.cuda_stream import CudaMark, CudaQueue
from bnsuite.measure.devices.device import Device, Telemetry
from bnsuite.measure.devices.held_queue import Mark, Queue
from conftest import ROOT
from fake_device import FakeDevice, FakeTelemetry
from fake_queue import FakeGpu, FakeMark, FakeQueue

CPU = devices.get("cpu")


# Which one


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CPU", "cpu:0", "", "mps"])
def test_an_unknown_device_is_refused(name: str) -> None:
    """One line says which names there are."""
    with pytest.raises(devices.DeviceError, match="no such device; choose auto, cpu, cuda or cuda:N"):
        devices.resolve(name)


def test_no_gpu_is_refused_and_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only auto may fall back; cuda says why, and what to do about it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.resolve("auto").name == "cpu"
    monkeypatch.setattr(cuda_availability.nvml, "driver_version", lambda: (None, "NVML: not found"))
    monkeypatch.setattr(cuda_availability, "in_container", lambda: False)
    with pytest.raises(devices.DeviceError, match=r"no NVIDIA driver is loaded here \(NVML: not found\); install one"):
        devices.resolve("cuda")
    monkeypatch.setattr(cuda_availability, "in_container", lambda: True)
    with pytest.raises(devices.DeviceError, match=r"docker run --gpus all.*NVIDIA Container Toolkit"):
        devices.resolve("cuda:1")
    monkeypatch.setattr(cuda_availability.nvml, "driver_version", lambda: ("999.1", ""))
    with pytest.raises(devices.DeviceError, match=r"the NVIDIA driver 999\.1 answers, but torch"):
        devices.resolve("cuda")
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(devices.DeviceError, match="this torch is built without CUDA"):
        devices.resolve("cuda")


OLD = (
    "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040). Please update your GPU "
    "driver by downloading and installing a new version (Triggered internally at /c10/cuda/CUDAFunctions.cpp:119.)"
)


@pytest.mark.parametrize(
    ("warning", "driver", "expected"),
    [
        (
            OLD,
            "470.1",
            r"the NVIDIA driver 470\.1, which offers CUDA 11\.4, is too old for this torch, built for CUDA ",
        ),
        (OLD, None, r"the NVIDIA driver, which offers CUDA 11\.4, is too old for this torch"),
        (
            "CUDA initialization: CUDA unknown error - it may be due to an incorrectly set up environment (Triggered",
            "1",
            None,
        ),
    ],
)
def test_what_torch_warns_of_is_the_reason(
    monkeypatch: pytest.MonkeyPatch, warning: str, driver: str | None, expected: str | None
) -> None:
    """torch only warns that a driver is too old or does not start, and finds no GPU: the warning is not lost."""

    def is_available() -> bool:
        warnings.warn(warning, stacklevel=2)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(cuda_availability.nvml, "driver_version", lambda: (driver, "NVML: not found"))
    cuda_availability._complaints.cache_clear()
    with pytest.raises(devices.DeviceError, match=expected or "CUDA does not start: CUDA unknown error - it may be"):
        devices.resolve("cuda")
    cuda_availability._complaints.cache_clear()


def test_a_gpu_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain "cuda" is the current one, "auto" the first."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert devices.resolve("cuda:1") is devices.resolve("cuda") is devices.get("cuda:1")
    assert devices.resolve("auto").name == "cuda:0"
    with pytest.raises(devices.DeviceError, match="there are 2 GPUs here, numbered from 0"):
        devices.resolve("cuda:2")


# What each answers


class FakeEvent:
    """A CUDA event whose time a test sets, in milliseconds as CUDA gives it."""

    def __init__(self, at_ms: float) -> None:
        self.at_ms, self.waited = at_ms, False

    def synchronize(self) -> None:
        self.waited = True

    def query(self) -> bool:
        return self.waited

    def elapsed_time(self, end: FakeEvent) -> float:
        assert end.waited, "an event must be waited for before it is read"
        return end.at_ms - self.at_ms


def test_cuda_marks_subtract_to_seconds() -> None:
    """pytest-benchmark only ever subtracts two marks: the later one is waited for, milliseconds become seconds."""
    begin, end = CudaMark(FakeEvent(10.0)), CudaMark(FakeEvent(12.5))  # type: ignore[arg-type]
    assert end - begin == pytest.approx(2.5e-3)


def test_a_cuda_mark_tells_whether_it_was_reached_without_waiting() -> None:
    """A round counts if the mark that ends the hold was not reached when its last launch was made."""
    begin, end = FakeEvent(1.0), FakeEvent(2.0)
    assert not CudaMark(end).reached()  # type: ignore[arg-type]
    end.synchronize()
    assert CudaMark(end).reached()  # type: ignore[arg-type]
    assert CudaMark(end).seconds_since(CudaMark(begin)) == pytest.approx(1e-3)  # type: ignore[arg-type]


def test_each_device_has_its_clock() -> None:
    """The name under which pytest-benchmark writes the timer into its JSON."""
    assert CPU.clock.__name__ == "perf_counter"
    assert devices.get("cuda:0").clock.__name__ == "cuda_event"


def test_cpu_memory_is_exact() -> None:
    """A megabyte held beside another is two, one after the other is one; three measurements agree to the byte."""
    mebi = 1 << 20

    def both() -> None:
        one = torch.empty(mebi, dtype=torch.uint8)
        two = torch.empty(mebi, dtype=torch.uint8)
        del one, two

    def in_turn() -> None:
        for _ in range(2):
            torch.empty(mebi, dtype=torch.uint8)

    assert [CPU.memory(both)["allocated_peak_bytes"] for _ in range(3)] == [2 * mebi] * 3
    assert CPU.memory(in_turn)["allocated_peak_bytes"] == mebi


def test_batch_norm_memory_is_as_derived() -> None:
    """Output, gradient of the input and gradient of the output alive together; known from hand calculation."""
    from bnsuite.cases import catalogue

    step = catalogue.case("op/batch_norm2d/fwd+bwd/f32/nchw/32x256x14x14").build("cpu")
    step()
    tensor = 32 * 256 * 14 * 14 * 4
    peak = CPU.memory(step)["allocated_peak_bytes"]
    assert peak is not None
    assert 0 <= peak - 3 * tensor < 16 * 256 * 4


@pytest.mark.parametrize("execution", list(Execution))
def test_a_cpu_refuses_what_only_a_gpu_can_do(execution: Execution) -> None:
    """Graphs and cuDNN are not silently left out; every other execution leaves the step as it was built."""

    def step() -> None:
        pass

    if execution in {Execution.NATIVE, Execution.GRAPH, Execution.BENCHMARKED}:
        with pytest.raises(devices.DeviceError, match="measure the case on a GPU"):
            CPU.run_as(execution, step)
    else:
        assert CPU.run_as(execution, step) is step


def test_without_cudnn_means_during_the_step_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the step raises."""
    monkeypatch.setattr(torch.backends.cudnn, "enabled", True)
    states = []

    def step() -> None:
        states.append(torch.backends.cudnn.enabled)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        devices.get("cuda:0").run_as(Execution.NATIVE, step)()
    assert states == [False]
    assert torch.backends.cudnn.enabled


@pytest.mark.parametrize("flag", [True, False])
def test_the_benchmark_mode_is_on_during_the_step_only(monkeypatch: pytest.MonkeyPatch, flag: bool) -> None:
    """With the other flag of TF32, by which torch keeps its algorithms apart; also where the step raises."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", flag)
    states = []

    def state() -> tuple[bool, bool]:
        return torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32

    def step() -> None:
        states.append(state())
        raise RuntimeError

    with pytest.raises(RuntimeError):
        devices.get("cuda:0").run_as(Execution.BENCHMARKED, step)()
    assert states == [(True, not flag)]
    assert state() == (False, flag)


class FakePresence:
    """A record of processes that notes the watches that it starts."""

    def __init__(self, log: list[Any]) -> None:
        self._log = log
        log.append("presence")

    def arrived(self) -> None:
        self._log.append("arrived")

    def watch(self, uuid: str | None, index: int, *, period_s: float | None) -> None:
        self._log.append((uuid, index, period_s))


@pytest.fixture
def gpu_log(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The order in which processes are recorded, the GPU is first touched, and watches start; torch tells no UUID."""
    log: list[Any] = []
    made: list[FakePresence] = []

    def presence() -> FakePresence:
        if not made:
            made.append(FakePresence(log))
        return made[0]

    monkeypatch.setattr(cuda, "presence", presence)
    monkeypatch.setattr(torch.cuda, "set_device", log.append)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace())
    return log


def test_the_processes_on_a_gpu_are_recorded_before_it_is_touched(gpu_log: list[Any]) -> None:
    """Else this process would count as one that was there before, and be taken for a foreign one in a container."""
    Cuda("cuda:1").use()
    assert gpu_log == ["presence", "cuda:1"]


def test_the_process_is_known_as_soon_as_it_has_come(gpu_log: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anybody else can come, the other side of a comparison say; a process that is not watched looks at none."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    Cuda("cuda:1").use()
    assert gpu_log == ["presence", "cuda:1", "arrived"]
    Cuda("cuda:0").use(watched=False)
    assert gpu_log[3:] == ["cuda:0"]


def test_the_measured_gpu_is_watched_where_torch_tells_no_uuid(gpu_log: list[Any]) -> None:
    """By its index, on every path (torch 2.4)."""
    Cuda("cuda:1").watch(0.1)
    assert gpu_log == ["presence", (None, 1, 0.1)]


# The twins by which sample makers are tested


def methods(kind: type, root: type) -> dict[str, list[tuple[str, Any]]]:
    """Returns the public methods of `kind`, down from `root`, each with the names and defaults of its parameters."""
    classes = kind.__mro__[: kind.__mro__.index(root) + 1] if root in kind.__mro__ else kind.__mro__[:-1]
    names = {name for one in classes for name, found in vars(one).items() if inspect.isfunction(found)}
    signatures = {name: inspect.signature(getattr(kind, name)) for name in names if not name.startswith("_")}
    return {name: [(one.name, one.default) for one in found.parameters.values()] for name, found in signatures.items()}


@pytest.mark.parametrize(
    ("kind", "root", "own"),
    [
        (Cuda, Device, set()),
        (type(CPU), Device, set()),
        (FakeDevice, Device, {"read_clock", "hold"}),
        (FakeGpu, Device, {"read_clock", "hold"}),
        (FakeTelemetry, Telemetry, set()),
        (CudaQueue, Queue, set()),
        (FakeQueue, Queue, {"launch", "kernels"}),
        (CudaMark, Mark, set()),
        (FakeMark, Mark, set()),
    ],
    ids=lambda one: one.__name__ if isinstance(one, type) else "",
)
def test_a_twin_has_the_methods_of_what_it_stands_for(kind: type, root: type, own: set[str]) -> None:
    """With the same parameters: a method that is renamed or gets another parameter is not tested under its old name."""
    expected, found = methods(root, root), methods(kind, root)
    assert {name: found[name] for name in found.keys() - own} == expected


# What nothing else knows

TIMED_PATH = sorted(
    path
    for part in ("measure", "cases/op", "cases/train", "cases/networks")
    for path in (ROOT / "suite" / "bnsuite" / part).rglob("*.py")
    if not {"devices", "nvml"} & {folder.name for folder in path.parents}
    if path.name != "ratio.py"  # its bounds are numbers per kind of device
)


@pytest.mark.parametrize("path", TIMED_PATH, ids=lambda path: path.name)
def test_no_other_module_of_the_timed_path_names_a_kind_of_gpu(path: Any) -> None:
    """A new kind of device is a module in devices/, and no search through the others."""
    assert not re.search(r"\bcuda\b", path.read_text(encoding="utf-8"))
