"""The interface of a device: everything about it that the measuring code needs to know."""

from __future__ import annotations

import resource
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from bnsuite.cases.execution import Execution, TimedBy
from bnsuite.measure.clock import Rounds, time_rounds
from bnsuite.measure.devices.held_queue import Pace

if TYPE_CHECKING:
    from bnsuite.cases import Step
    from bnsuite.measure.devices.profiled import LaunchedKernels
    from bnsuite.measure.nvml import GpuWatch

#: More than the last-level cache of any GPU so far.
FLUSHED_BYTES = 1 << 28


class DeviceError(ValueError):
    """The device can't be measured here, or can't do what a case asks for."""


class Telemetry(Protocol):
    """Sensors of a device that are being read."""

    #: Whether the measured work is running; in the background they are read only while it is.
    working: bool

    def sample(self) -> None:
        """Read them once more."""

    def stop(self) -> GpuWatch:
        """Read them for the last time and return the summary."""


class Device(ABC):
    """One device. Creating it does not touch the hardware; :meth:`use` does."""

    #: Seconds that a step runs before it is timed.
    warm_up_s: ClassVar[float]
    #: The thread that calls a step also does its work: less CPU time than wall time then means interference.
    works_on_core: ClassVar[bool]
    #: It has a queue that can be held back while it is filled, so that its time is taken without the host's.
    holds_queue: ClassVar[bool] = False
    #: Seconds that a round lasts at least, whatever the path that times it asks for.
    min_round_s: ClassVar[float] = 0.0
    #: No path needs more rounds of that length; None for as many as a path asks for.
    max_rounds: ClassVar[int | None] = None
    #: Seconds of a block of a comparison, and how often a launch builds a case elsewhere in memory; None: as on a CPU.
    block_s: ClassVar[float | None] = None
    layouts: ClassVar[int | None] = None
    #: The controls that are timed beside a case (see :mod:`bnsuite.measure.control`).
    controls: ClassVar[tuple[str, ...]] = ("copy", "linear")

    def __init__(self, name: str) -> None:
        #: As torch names it, such as "cpu".
        self.name = name

    @property
    def type(self) -> str:
        """The kind of device: the name without its number."""
        return self.name.partition(":")[0]

    @property
    @abstractmethod
    def clock(self) -> Callable[[], Any]:
        """A plain function; two of its marks subtract to seconds of this device's work."""

    @abstractmethod
    def use(self, *, watched: bool = True) -> None:
        """Make it the device on which steps, marks of time and captured graphs land.

        Other processes on it are recorded first, unless it will not be `watched`.
        """

    @abstractmethod
    def wait(self) -> None:
        """Return when all launched work is done."""

    def exact(self) -> None:  # noqa: B027  # most devices have one precision
        """Have this process compute what it compares in the precision of its numbers. Times are taken without it."""

    def unfit(self) -> str | None:
        """Why this process must not measure more on the device, in one line; None if it may.

        Raises what the device raises for work that was launched before.
        """
        return None

    def probe(self) -> None:
        """Compute a number on the device; raises what the device raises, and DeviceError for a wrong one."""
        import torch

        found = torch.ones(1, device=self.name).add_(1.0).item()
        if found != 2.0:
            raise DeviceError(f"{self.name}: one and one are {found:g} there")

    @abstractmethod
    def empty_caches(self) -> None:
        """Return unused memory of torch's allocator to the device, for other processes to use."""

    @abstractmethod
    def watch(self, period_s: float | None = None) -> Telemetry | None:
        """Telemetry, started; with a period it is also sampled in the background. None if the device has no sensors."""

    @abstractmethod
    def memory(self, step: Step) -> dict[str, int | None]:
        """Bytes that `step` holds at its peak above what it found, and totals of the process (``Memory`` in JSON)."""

    @abstractmethod
    def launched(self, step: Step) -> LaunchedKernels:
        """What one call of `step` launches. Raises ProfilerUnavailableError if that can't be seen here."""

    @abstractmethod
    def reset_peak(self) -> None:
        """Start a new high-water mark for :meth:`peak_bytes`."""

    @abstractmethod
    def peak_bytes(self) -> int | None:
        """The most bytes that the process held since :meth:`reset_peak`; None where the system does not say."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Facts about the device and its libraries: ``gpu`` and ``cudnn``, each None if there is none."""

    def time_rounds(
        self,
        step: Step,
        rounds: int,
        iterations: int = 1,
        setup: Step | None = None,
        by: TimedBy = TimedBy.DEVICE,  # noqa: ARG002  # one and the same where a step is done when it returns
        *,
        host_s: float | None = None,  # noqa: ARG002
    ) -> Rounds:
        """Times rounds of `iterations` steps; `setup` runs before each round, untimed.

        `host_s` is what the host takes to launch a step, if its :meth:`pace` is known: a device with a queue of its own
        measures it otherwise.
        """
        return Rounds(time_rounds(step, self.clock, rounds, iterations, setup))

    def pace(
        self,
        step: Step,  # noqa: ARG002  # a device with a queue of its own tries it
        step_s: float,
        round_s: float,  # noqa: ARG002
        setup: Step | None = None,  # noqa: ARG002
    ) -> Pace:
        """How a step that takes about `step_s` can be timed in rounds of `round_s`."""
        return Pace(step_s, step_s)

    def warm_clocks(self) -> None:  # noqa: B027  # most devices have nothing to do
        """Work until clocks are up; only the first call in a process does."""

    def product(self) -> tuple[int, str]:
        """The rows of square matrices whose product keeps all of the device busy, and their dtype as torch names it."""
        return 256, "float32"

    def capture(self, step: Step) -> Step:  # noqa: ARG002  # a device with graphs overrides it
        """`step` recorded as a graph, which the returned step replays. DeviceError if the device has no graphs."""
        raise DeviceError(f"{self.name}: steps can't be captured into a graph here; measure the case on a GPU")

    def without_cudnn(self, step: Step) -> Step:  # noqa: ARG002  # a device with cuDNN overrides it
        """`step` with cuDNN disabled. DeviceError if the device never uses cuDNN."""
        raise DeviceError(f"{self.name}: cuDNN is not used here, so it can't be disabled; measure the case on a GPU")

    def benchmarked(self, step: Step) -> Step:  # noqa: ARG002  # a device with cuDNN overrides it
        """`step` with cuDNN's benchmark mode on. DeviceError if the device never uses cuDNN."""
        raise DeviceError(
            f"{self.name}: cuDNN is not used here, so it has no algorithms to try; measure the case on a GPU"
        )

    def flush(self) -> Step:
        """A step that evicts everything else from the last-level cache; it runs before the clock starts.

        It writes: the cache is full of dirty lines afterwards, as Triton's and nvbench's flushes leave it, and the
        case pays for those that it evicts (see docs/explanation/gpu-timing.md).
        """
        import torch

        block = torch.empty(FLUSHED_BYTES, dtype=torch.uint8, device=self.name)

        def evict() -> None:
            block.zero_()

        return evict

    def run_as(self, execution: Execution, step: Step) -> Step:
        """`step` as `execution` demands. Compiling is part of a case's build, and a flush runs outside the step."""
        if execution is Execution.NATIVE:
            return self.without_cudnn(step)
        if execution is Execution.BENCHMARKED:
            return self.benchmarked(step)
        return self.capture(step) if execution is Execution.GRAPH else step


@contextmanager
def at_work(telemetry: Telemetry | None) -> Iterator[None]:
    """A context around the measured work, for sensors that are read in the background."""
    if telemetry is not None:
        telemetry.working = True
    try:
        yield
    finally:
        if telemetry is not None:
            telemetry.working = False


def rss_peak_bytes() -> int:
    """The most memory that this process had resident so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
