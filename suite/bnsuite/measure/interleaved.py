"""One side of a comparison: a case that this process holds ready and times block by block on request.

The other side is another process; whoever asks sees to it that only one of them works at a time.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bnsuite.cases.execution import TimedBy
from bnsuite.measure import control
from bnsuite.measure.devices import at_work
from bnsuite.measure.fault_injection import NO_FAULT, InjectedFault
from bnsuite.measure.timed_case import RUN, CoreShare, alone, build, flush_of, is_cold, warmed_up

if TYPE_CHECKING:
    import torch

    from bnsuite.cases import Case, Step
    from bnsuite.measure.devices import Device, Telemetry
    from bnsuite.measure.nvml import GpuWatch


#: The period at which a device's sensors are sampled in the blocks of a case.
BLOCK_SAMPLING_S = 0.1


def pin(cores: list[int]) -> None:
    """Keeps every thread of this process on `cores`, if there are any."""
    if cores:
        for thread in Path("/proc/self/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.sched_setaffinity(int(thread.name), cores)


class TimedBlock(NamedTuple):
    """Rounds that were timed together."""

    #: Seconds per step, one value per round.
    samples_s: list[float]
    #: CPU time over wall time; None on a device that works elsewhere.
    cpu_share: float | None
    #: Seconds that the host took to launch a step, per round, and if the samples are without them; None on a CPU.
    host_s: list[float] | None
    held: bool | None
    #: CPU seconds of all threads over wall seconds; None for several ranks.
    cores_busy: float | None


class InterleavedCase:
    """A case, or a control (`case` is None), that is built, warmed up and timed in blocks until :meth:`release`.

    `make` builds its whole step on `device`. A sample is the host's time to launch a step if it is `of_host`.
    """

    def __init__(
        self,
        case: Case | None,
        make: Callable[[], Step],
        device: Device,
        fault: InjectedFault = NO_FAULT,
        *,
        of_host: bool = False,
    ) -> None:
        self._of_host = of_host
        self._case, self._make, self._device, self._fault = case, make, device, fault
        self._pad: torch.Tensor | None = None
        self._blocks = 0
        self._whole: Step | None = None
        self._step: Step | None = None
        self._build()
        self._spinning = fault.spinning() if case is not None else None
        #: Caches are emptied before each round, which is of one step then.
        self.cold = case is not None and is_cold(case)
        self._flush = None if case is None else flush_of(case, device)
        self._by = TimedBy.DEVICE if case is None else case.timed_by
        #: About how many seconds one step takes, and how it can be timed in rounds.
        self.pace = warmed_up(self._timed, device, self._by, RUN.on(device).round_s, setup=self._flush)
        if not self.pace.held:
            self._by = TimedBy.ELAPSED
        self._telemetry: Telemetry | None = None if case is None else device.watch(BLOCK_SAMPLING_S)
        if self._telemetry is not None:
            self._telemetry.working = False  # the other side works as well: only this one's blocks are sampled
        #: Examples that one step goes through, where that is known.
        self.examples = self._examples()

    def _build(self) -> None:
        self._whole = self._make()
        part = self._whole if self._case is None else self._case.timed_unit(self._whole)
        self._step = self._fault.holding(part, self._device)

    @property
    def step_s(self) -> float:
        """About how many seconds one step takes."""
        return self.pace.step_s

    @property
    def _timed(self) -> Step:
        assert self._step is not None, "the case was released"
        return self._step

    def _examples(self) -> int | None:
        if self._case is None or self._whole is None or self._case.timed_unit(self._whole) != self._whole:
            return None
        return self._case.examples(self._whole)

    def rebuild(self, shift_bytes: int) -> None:
        """Builds the case anew elsewhere in memory, untrained.

        The positions of tensors relative to one another change what a step costs.
        """
        import torch

        if self._case is not None and self._whole is not None and self._blocks:
            self._case.verify(self._whole)
        self._step = self._whole = self._pad = None
        self._pad = torch.empty(shift_bytes, dtype=torch.uint8, device=self._device.name)
        self._build()
        self._timed()
        if self._telemetry is not None:
            self._telemetry.sample()  # while it is busy: throttling ends with the work

    def block(self, rounds: int, iterations: int, warm: int) -> TimedBlock:
        """Times rounds after `warm` steps that don't count."""
        step = self._timed
        self._blocks += 1
        if self._case is not None and self._whole is not None:
            self._case.renew(self._whole, self._blocks)
        for _ in range(warm):
            step()
        processes = 1 if self._case is None else self._case.processes
        with at_work(self._telemetry), CoreShare(self._device, processes) as share:
            timed = self._device.time_rounds(step, rounds, iterations, self._flush, self._by, host_s=self.pace.host_s)
        samples_s = (timed.host_s if self._of_host else None) or timed.device_s
        clocked = [self._fault.clock(seconds) for seconds in samples_s]
        return TimedBlock(clocked, share.value, timed.host_s, timed.held, share.cores)

    def memory(self) -> dict[str, int | None]:
        """Bytes that the case's step holds at its peak (see :meth:`Device.memory`). A control has none to measure."""
        assert self._case is not None
        assert self._whole is not None, "the case was released"
        self._case.verify(self._whole)
        return self._device.memory(self._fault.holding(self._case.smoke_step(self._whole), self._device))

    def release(self) -> GpuWatch | None:
        """Frees the case's memory, on the device too; returns the summary of its telemetry, None without sensors."""
        summary = None if self._telemetry is None else self._telemetry.stop()
        self._telemetry = self._step = self._whole = self._flush = self._pad = None
        if self._spinning is not None:
            self._spinning.set()
        gc.collect()
        self._device.empty_caches()  # the other side is on the same device
        return summary


def ready(name: str, device: Device, seed: int, fault: InjectedFault) -> InterleavedCase:
    """The case or control `name` on `device`, built and warmed up."""
    if name in control.INTERLEAVED:
        of_host = name == f"control/{control.LAUNCH}"
        return InterleavedCase(None, partial(control.INTERLEAVED[name], device), device, fault, of_host=of_host)
    from bnsuite.cases import catalogue

    case = catalogue.case(name)
    alone(case)
    return InterleavedCase(case, partial(build, case, device, seed), device, fault)
