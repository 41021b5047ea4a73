"""The interface of a device: everything about it that the measuring code needs to know."""

from __future__ import annotations

import resource
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from bnsuite.cases.execution import Execution

if TYPE_CHECKING:
    from bnsuite.cases import Step
    from bnsuite.measure.nvml import GpuWatch

#: More than the last-level cache of any GPU so far.
FLUSHED_BYTES = 1 << 28


class DeviceError(ValueError):
    """The device can't be measured here, or can't do what a case asks for."""


class Telemetry(Protocol):
    """Sensors of a device that are being read."""

    def sample(self) -> None:
        """Read them once more."""

    def stop(self) -> GpuWatch:
        """Read them for the last time and return the summary."""


class Device(ABC):
    """One device. Creating it does not touch the hardware; :meth:`use` does."""

    #: Seconds that a step runs before it is timed.
    warm_up_s: ClassVar[float]
    #: The thread that calls a step also does its work: less processor time than wall time then means interference.
    works_on_core: ClassVar[bool]

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
    def reset_peak(self) -> None:
        """Start a new high-water mark for :meth:`peak_bytes`."""

    @abstractmethod
    def peak_bytes(self) -> int | None:
        """The most bytes that the process held since :meth:`reset_peak`; None where the system does not say."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Facts about the device and its libraries: ``gpu`` and ``cudnn``, each None if there is none."""

    def capture(self, step: Step) -> Step:  # noqa: ARG002  # a device with graphs overrides it
        """`step` recorded as a graph, which the returned step replays. DeviceError if the device has no graphs."""
        raise DeviceError(f"{self.name}: steps can't be captured into a graph here; measure the case on a GPU")

    def without_cudnn(self, step: Step) -> Step:  # noqa: ARG002  # a device with cuDNN overrides it
        """`step` with cuDNN disabled. DeviceError if the device never uses cuDNN."""
        raise DeviceError(f"{self.name}: cuDNN is not used here, so it can't be disabled; measure the case on a GPU")

    def flush(self) -> Step:
        """A step that evicts everything else from the last-level cache; it runs before the clock starts."""
        import torch

        block = torch.empty(FLUSHED_BYTES, dtype=torch.uint8, device=self.name)

        def evict() -> None:
            block.zero_()

        return evict

    def run_as(self, execution: Execution, step: Step) -> Step:
        """`step` as `execution` demands. Compiling is part of a case's build, and a flush runs outside the step."""
        if execution is Execution.NATIVE:
            return self.without_cudnn(step)
        return self.capture(step) if execution is Execution.GRAPH else step


def rss_peak_bytes() -> int:
    """The most memory that this process had resident so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
