"""A device with a scripted clock and memory, and a case for it: sample makers are tested without timing anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from bnsuite.cases import Case, Step
from bnsuite.cases.execution import Execution, TimedBy
from bnsuite.measure.devices import Device
from bnsuite.measure.devices.profiled import LaunchedKernels
from bnsuite.measure.nvml import GpuWatch

#: The summary of a fake device's telemetry.
SUMMARY = GpuWatch(
    throttled=(),
    reasons=(),
    foreign=0,
    sm_clock_mhz_min=1980,
    sm_clock_mhz_max=1980,
    temperature_c_max=45,
    power_w_max=650.5,
    energy_j=3.0,
    ecc_errors=0,
    used_bytes=300,
    own_bytes=200,
    samples=2,
    sampling_s=0.001,
    trouble=None,
)


class FakeTelemetry:
    """Sensors that note when they are read."""

    def __init__(self, log: list[str]) -> None:
        self._log = log
        self.working = True

    def sample(self) -> None:
        self._log.append("sample")

    def stop(self) -> GpuWatch:
        self._log.append("stop")
        return SUMMARY


class FakeDevice(Device):
    """A device whose clock moves only when a scripted step runs, and by `tick_s` with each reading.

    `log` holds everything that was asked of it, and the steps of its cases, in order. Tensors for it are on the CPU.
    """

    warm_up_s = 0.0
    works_on_core = False

    def __init__(self, name: str = "cpu", *, tick_s: float = 0.0) -> None:
        super().__init__(name)
        self.tick_s = tick_s
        self.now_s = 0.0
        self.live_bytes = self.peak = 0
        self.log: list[str] = []

    @property
    def clock(self) -> Callable[[], Any]:
        return self.read_clock

    def read_clock(self) -> float:
        self.now_s += self.tick_s
        return self.now_s

    def hold(self, nbytes: int) -> None:
        """Allocates, or with a negative number frees."""
        self.live_bytes += nbytes
        self.peak = max(self.peak, self.live_bytes)

    def use(self, *, watched: bool = True) -> None:
        self.log.append("use")

    def wait(self) -> None:
        self.log.append("wait")

    def empty_caches(self) -> None:
        self.log.append("empty caches")

    def watch(self, period_s: float | None = None) -> FakeTelemetry:
        self.log.append("watch" if period_s is None else f"watch every {period_s:g} s")
        return FakeTelemetry(self.log)

    def memory(self, step: Step) -> dict[str, int | None]:
        self.log.append("memory")
        self.peak = before = self.live_bytes
        step()
        return {"allocated_peak_bytes": self.peak - before}

    def launched(self, step: Step) -> LaunchedKernels:
        """The names that a step adds to the log, each a kernel."""
        self.wait()
        before = len(self.log)
        step()
        names = self.log[before:]
        return LaunchedKernels(of="kernels", launched={one: names.count(one) for one in names}, batch_norm=None)

    def reset_peak(self) -> None:
        self.peak = self.live_bytes

    def peak_bytes(self) -> int | None:
        return self.peak

    def describe(self) -> dict[str, Any]:
        return {"gpu": None, "cudnn": None}

    def capture(self, step: Step) -> Step:
        self.log.append("capture")
        return step

    def without_cudnn(self, step: Step) -> Step:
        self.log.append("without cuDNN")
        return step

    def flush(self) -> Step:
        return lambda: self.log.append("flush")


@dataclass(frozen=True, kw_only=True)
class FakeCase(Case):
    """A case whose step takes `step_s` of a fake device's time and holds `nbytes_held` bytes meanwhile."""

    device: FakeDevice = field(hash=False)
    name: str = "fake"
    step_s: float = 1e-3
    nbytes_held: int = 0
    way: Execution = Execution.EAGER
    fixed_rounds: int | None = None

    family: ClassVar[str] = "fake"
    kind: ClassVar[str] = "layer"
    labels: ClassVar[dict[str, str]] = {}  # type: ignore[assignment]
    gates: ClassVar[tuple[str, ...]] = ("timing", "memory")  # type: ignore[assignment]
    nbytes: ClassVar[int] = 1 << 12  # type: ignore[assignment]

    @property
    def id(self) -> str:
        return self.name

    @property
    def execution(self) -> Execution:
        return self.way

    @property
    def rounds(self) -> int | None:
        return self.fixed_rounds

    def examples(self, step: Step) -> int:
        return 32

    def smoke_step(self, step: Step) -> Step:
        def smoke() -> None:
            self.device.log.append(f"{self.name} smoke step")
            self.device.hold(self.nbytes_held)
            self.device.hold(-self.nbytes_held)

        return smoke

    def build(self, device: str, seed: int = 0) -> Step:
        self.device.log.append(f"{self.name} build {seed}")

        def step() -> None:
            self.device.log.append(self.name)
            self.device.now_s += self.step_s

        return step


@dataclass(frozen=True)
class FakeRatio:
    """Two fake cases, as a ratio has them."""

    numerator: FakeCase
    denominator: FakeCase
    ranks: int = 1
    processes: int = 1
    timed_by: TimedBy = TimedBy.DEVICE
