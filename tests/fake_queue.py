"""A device with a queue of its own, by a script: host and device have a time each, and the queue has a depth."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bnsuite.cases import Step
from bnsuite.cases.execution import TimedBy
from bnsuite.measure.devices.cuda import Cuda
from bnsuite.measure.devices.held_queue import HeldQueue
from fake_device import FakeCase, FakeDevice

#: Seconds that the host takes for a launch and for a mark, and after which an idle device begins with a launch.
LAUNCH_S, MARK_S, LATENCY_S = 5e-6, 1e-6, 10e-6


@dataclass
class FakeMark:
    """A point in a fake queue."""

    queue: FakeQueue
    at_s: float

    def reached(self) -> bool:
        return self.queue.host_s >= self.at_s

    def seconds_since(self, earlier: FakeMark) -> float:
        assert self.reached(), "a mark that was not reached has no time"
        return self.at_s - earlier.at_s


@dataclass
class FakeQueue:
    """A queue of `depth` launches. The host stops where it is full; the device works on one after the other."""

    depth: int = 1024
    cycles_per_s: float = 2e9
    host_s: float = 0.0
    #: When the device is through with all that was launched.
    free_s: float = 0.0
    #: When each launch that is still in the queue is done.
    pending: deque[float] = field(default_factory=deque)
    #: How often it was waited for, what was launched with the spins, and the seconds of all spins.
    waits: int = 0
    launches: int = 0
    spins_s: list[float] = field(default_factory=list)

    def launch(self, device_s: float, host_s: float = LAUNCH_S) -> None:
        """Puts work of `device_s` into the queue, which takes the host `host_s`."""
        self.launches += 1
        self.host_s += host_s
        if len(self.pending) >= self.depth:
            self.host_s = max(self.host_s, self.pending[-self.depth])
        while self.pending and self.pending[0] <= self.host_s:
            self.pending.popleft()
        begin_s = self.free_s if self.free_s > self.host_s else self.host_s + LATENCY_S
        self.free_s = begin_s + device_s
        self.pending.append(self.free_s)

    def spin(self, cycles: int) -> None:
        self.spins_s.append(cycles / self.cycles_per_s)
        self.launch(cycles / self.cycles_per_s)

    def mark(self) -> FakeMark:
        self.host_s += MARK_S
        return FakeMark(self, max(self.free_s, self.host_s))

    def wait(self) -> None:
        self.waits += 1
        self.host_s = max(self.host_s, self.free_s)

    def now_s(self) -> float:
        return self.host_s

    def kernels(self, count: int, device_s: float, host_s: float = LAUNCH_S) -> Step:
        """A step of `count` launches, each of which takes the device and the host so long."""

        def step() -> None:
            for _ in range(count):
                self.launch(device_s, host_s)

        return step


class FakeGpu(FakeDevice):
    """A fake device whose rounds are held: by the rules and the methods of a GPU, on a fake queue."""

    holds_queue = Cuda.holds_queue
    min_round_s = Cuda.min_round_s
    max_rounds = Cuda.max_rounds
    block_s = Cuda.block_s
    layouts = Cuda.layouts
    controls = Cuda.controls
    time_rounds = Cuda.time_rounds
    pace = Cuda.pace

    def __init__(self, name: str = "cpu") -> None:
        super().__init__(name)
        self.queue = FakeQueue()
        self._queue = HeldQueue(self.queue)

    @property
    def clock(self) -> Callable[[], Any]:
        return self.queue.now_s

    def warm_clocks(self) -> None:
        self.log.append("warm clocks")

    def product(self) -> tuple[int, str]:
        return 8, "float32"


@dataclass(frozen=True, kw_only=True)
class QueuedCase(FakeCase):
    """A case whose step is one launch on a fake GPU: `step_s` of the device, `host_s` of the host."""

    device: FakeGpu = field(hash=False)
    host_s: float = LAUNCH_S
    by: TimedBy = TimedBy.DEVICE
    #: Each step waits until the device is through with it.
    waits: bool = False

    @property
    def timed_by(self) -> TimedBy:
        return self.by

    def build(self, device: str, seed: int = 0) -> Step:
        self.device.log.append(f"{self.name} build {seed}")

        def step() -> None:
            self.device.queue.launch(self.step_s, self.host_s)
            if self.waits:
                self.device.queue.wait()

        return step
