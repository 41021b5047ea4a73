"""The CPU as a device."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from bnsuite.cases import allocations
from bnsuite.measure.devices import profiled
from bnsuite.measure.devices.device import Device, Telemetry, rss_peak_bytes
from bnsuite.measure.devices.profiled import LaunchedKernels

if TYPE_CHECKING:
    from bnsuite.cases import Step


class Cpu(Device):
    """The processor: a step is done when it returns, and it works on the core of the thread that calls it."""

    warm_up_s = 0.02
    works_on_core = True

    @property
    def clock(self) -> Callable[[], Any]:
        return perf_counter

    def use(self, *, watched: bool = True) -> None:
        """Nothing to do: it is torch's default."""

    def wait(self) -> None:
        """Nothing to do: work is done when a step returns."""

    def empty_caches(self) -> None:
        """Nothing to do: torch's CPU allocator keeps nothing."""

    def watch(self, period_s: float | None = None) -> Telemetry | None:  # noqa: ARG002  # there is nothing to sample
        return None

    def memory(self, step: Step) -> dict[str, int | None]:
        return {"allocated_peak_bytes": allocations.settled_peak(step), "rss_peak_bytes": rss_peak_bytes()}

    def launched(self, step: Step) -> LaunchedKernels:
        events = profiled.events_of(step)
        found = profiled.operators(events, profiled.role_in_torch)
        if not found:
            raise profiled.ProfilerUnavailableError("the step calls no operator of torch")
        return LaunchedKernels(of="operators", launched=found, batch_norm=profiled.batch_norm_backend(events))

    def reset_peak(self) -> None:
        gc.collect()
        with contextlib.suppress(OSError):  # a kernel that doesn't let a process do that
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def peak_bytes(self) -> int | None:
        """Resident bytes. The heap is kept between trainings, so what an earlier one needed is included."""
        try:
            status = Path("/proc/self/status").read_text(encoding="ascii")
        except OSError:
            return None
        return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), None)

    def describe(self) -> dict[str, Any]:
        return {"gpu": None, "cudnn": None}
