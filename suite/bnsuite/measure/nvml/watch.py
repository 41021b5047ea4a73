"""What a GPU went through while something was measured on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from time import thread_time
from typing import TYPE_CHECKING, TypeVar

from bnsuite.measure.nvml.binding import NvmlError, Questions
from bnsuite.measure.nvml.handle import Handle, everything, find
from bnsuite.measure.nvml.state import Health, health, processes

if TYPE_CHECKING:
    from typing_extensions import Self

Number = TypeVar("Number", int, float)

#: Reasons for lower clocks that a measurement doesn't expect; a power cap or an idle GPU is all in a day's work.
THROTTLING = ("hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown")

#: How long a driver that doesn't answer is waited for.
PATIENCE_S = 5.0


@dataclass(frozen=True)
class GpuWatch:
    """What was seen between start and stop; None where the driver couldn't say.

    `foreign` counts all processes seen but our own; None where not even ours is shown, as in some containers.
    Clocks are those of a busy GPU, if it was seen busy. Bytes are the most that was seen. `ecc_errors` is how many
    came, corrected or not. `sampling_s` is the thread time that all samples took.
    """

    throttled: tuple[str, ...] | None
    reasons: tuple[str, ...] | None
    foreign: int | None
    sm_clock_mhz_min: int | None
    sm_clock_mhz_max: int | None
    temperature_c_max: int | None
    power_w_max: float | None
    energy_j: float | None
    ecc_errors: int | None
    used_bytes: int | None
    own_bytes: int | None
    samples: int
    sampling_s: float
    trouble: str | None


class Watch:
    """Watches one GPU from start to stop, as often as wanted. Nothing of it raises.

    Make it before this process touches the GPU: it remembers who is there already, and so the one who has come by
    the first stop is known for us even in a container, where NVML speaks of processes by the host's ids.
    """

    def __init__(self, uuid: str | None = None, index: int = 0) -> None:
        self._uuid, self._index = uuid, index
        self._gpu: Handle | None = None
        self._ours: int | None = None
        self._why = ""
        self._tally = _Tally(trouble="never started")
        self._stop = Event()
        self._thread: Thread | None = None
        self._before: dict[str, frozenset[int]] = {}
        with suppress(NvmlError):
            for gpu in everything():
                found = processes(gpu, Questions())
                if found is not None:
                    self._before[gpu.uuid] = frozenset(process.id for process in found)

    def start(self, uuid: str | None = None, index: int | None = None, *, period_s: float | None = None) -> Self:
        """Begin anew, on the GPU of this UUID, or torch's cuda:`index`, if that is known by now.

        With a period, sample in a thread as well.
        """
        if not self._end_thread():
            self._tally = _Tally()
            return self
        if self._gpu is None or uuid not in {None, self._uuid} or index not in {None, self._index}:
            self._uuid = uuid or self._uuid
            self._index = self._index if index is None else index
            self._gpu, self._why = find(self._uuid, self._index)
        self._tally = _Tally(trouble=self._why or None)
        self.sample()
        if period_s is not None and self._gpu is not None:
            self._stop = Event()
            arguments = (self._gpu, self._tally, self._stop, period_s)
            self._thread = Thread(target=_keep_sampling, args=arguments, name="bnsuite-nvml", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:  # no more threads
                self._thread, self._tally.trouble = None, str(error)
        return self

    def sample(self) -> None:
        """Look once more, between two rounds say."""
        if self._gpu is not None:
            self._tally.sample(self._gpu)

    def stop(self) -> GpuWatch:
        """Look for the last time and sum up."""
        if self._end_thread():
            self.sample()
        else:
            self._tally.trouble = f"NVML: no answer for {PATIENCE_S:g} s"
        return self._sum_up(self._tally)

    def _end_thread(self) -> bool:
        """Whether no thread samples any more. One that hangs in the driver is waited for once, then left behind."""
        if self._thread is None:
            return True
        patience_s = 0.0 if self._stop.is_set() else PATIENCE_S
        self._stop.set()
        self._thread.join(patience_s)
        if self._thread.is_alive():
            return False
        self._thread = None
        return True

    def _sum_up(self, tally: _Tally) -> GpuWatch:
        foreign, own_bytes = self._people(tally)
        clocks = tally.busy_clocks or tally.clocks
        return GpuWatch(
            throttled=None if tally.reasons is None else tuple(word for word in THROTTLING if word in tally.reasons),
            reasons=None if tally.reasons is None else tuple(sorted(tally.reasons)),
            foreign=foreign,
            sm_clock_mhz_min=min(clocks, default=None),
            sm_clock_mhz_max=max(clocks, default=None),
            temperature_c_max=tally.temperature_c,
            power_w_max=tally.power_w,
            energy_j=_increase(tally, lambda health: health.energy_j),
            ecc_errors=_increase(tally, _ecc_errors),
            used_bytes=tally.used_bytes,
            own_bytes=own_bytes,
            samples=tally.samples,
            sampling_s=tally.sampling_s,
            trouble=tally.trouble,
        )

    def _people(self, tally: _Tally) -> tuple[int | None, int | None]:
        """How many processes were not ours, and the most memory that ours held."""
        if not tally.processes or self._gpu is None:
            return None, None
        new = tally.present - self._before.get(self._gpu.uuid, tally.present)
        if os.getpid() in tally.processes:
            self._ours = os.getpid()
        elif self._ours is None and len(new) == 1:
            (self._ours,) = new
        if self._ours in tally.processes:
            return len(tally.processes) - 1, tally.processes[self._ours]
        # Of several that came at once one is ours, whichever; if none came, NVML doesn't show ours.
        return len(tally.processes) - (self._ours is None and bool(new)), None


@dataclass
class _Tally:
    """What the samples add up to, so that none has to be kept."""

    trouble: str | None = None
    first: Health | None = None
    last: Health | None = None
    reasons: set[str] | None = None
    clocks: tuple[int, ...] = ()
    busy_clocks: tuple[int, ...] = ()
    temperature_c: int | None = None
    power_w: float | None = None
    used_bytes: int | None = None
    processes: dict[int, int | None] = field(default_factory=dict)
    present: frozenset[int] = frozenset()
    samples: int = 0
    sampling_s: float = 0.0
    lock: Lock = field(default_factory=Lock)

    def sample(self, gpu: Handle) -> None:
        begin_s = thread_time()
        now = health(gpu)
        with self.lock:
            self._add(now)
            self.sampling_s += thread_time() - begin_s

    def _add(self, now: Health) -> None:
        self.samples += 1
        self.trouble = self.trouble or now.trouble
        self.first, self.last = self.first or now, now
        if now.reasons is not None:
            self.reasons = (self.reasons or set()).union(now.reasons)
        if now.sm_clock_mhz is not None:
            self.clocks = _ends((*self.clocks, now.sm_clock_mhz))
            if "gpu_idle" not in (now.reasons or ()):
                self.busy_clocks = _ends((*self.busy_clocks, now.sm_clock_mhz))
        self.temperature_c = _most(self.temperature_c, now.temperature_c)
        self.power_w = _most(self.power_w, now.power_w)
        self.used_bytes = _most(self.used_bytes, now.used_bytes)
        if now.processes is not None:
            self.present = frozenset(process.id for process in now.processes)
            for process in now.processes:
                self.processes[process.id] = _most(self.processes.get(process.id), process.used_bytes)


def _keep_sampling(gpu: Handle, tally: _Tally, stop: Event, period_s: float) -> None:
    """Sample until told to stop, or until something is wrong with the GPU: more calls won't mend it."""
    while tally.trouble is None and not stop.wait(period_s):
        tally.sample(gpu)


def _increase(tally: _Tally, count: Callable[[Health], Number | None]) -> Number | None:
    """By how much a counter grew, or None where it can't be read or began anew (the driver was reloaded)."""
    if tally.first is None or tally.last is None:
        return None
    before, after = count(tally.first), count(tally.last)
    return None if before is None or after is None or after < before else after - before


def _ecc_errors(health: Health) -> int | None:
    if health.ecc_corrected is None or health.ecc_uncorrected is None:
        return None
    return health.ecc_corrected + health.ecc_uncorrected


def _ends(values: tuple[int, ...]) -> tuple[int, int]:
    return min(values), max(values)


def _most(known: Number | None, new: Number | None) -> Number | None:
    return max((value for value in (known, new) if value is not None), default=None)
