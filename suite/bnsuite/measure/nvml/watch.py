"""A watch over a GPU while something is measured on it: clocks, heat, energy, errors, memory and processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from time import thread_time
from typing import TypeVar

from bnsuite.measure.nvml.binding import NvmlError, Queries
from bnsuite.measure.nvml.handle import Handle, everything, find
from bnsuite.measure.nvml.state import Health, health, processes

Number = TypeVar("Number", int, float)

#: Reasons for lower clocks that spoil a measurement; a power cap and an idle GPU are normal.
THROTTLING = ("hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown")

#: The time that a driver has for an answer.
ANSWER_S = 5.0


@dataclass(frozen=True)
class GpuWatch:
    """The summary of a watch; None where the driver couldn't say.

    `foreign` counts all listed processes but this one; None where not even this one is listed, as in some containers.
    Clocks are those of a busy GPU, if a sample found it busy. Bytes are maxima over the samples. `ecc_errors` counts
    new errors, corrected or not. `sampling_s` is the thread time that all samples took.
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
    """A running watch over one GPU, which :meth:`Presence.watch` starts. Nothing of it raises."""

    def __init__(self, presence: Presence, gpu: Handle | None, trouble: str | None, period_s: float | None) -> None:
        self._presence, self._gpu = presence, gpu
        self._tally = _Tally(trouble=trouble)
        self._stop = Event()
        self._thread: Thread | None = None
        self.sample()
        if period_s is not None and gpu is not None:
            arguments = (gpu, self._tally, self._stop, period_s)
            self._thread = Thread(target=_keep_sampling, args=arguments, name="bnsuite-nvml", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:  # no more threads
                self._thread, self._tally.trouble = None, str(error)

    def sample(self) -> None:
        """Reads the sensors once more, between two rounds say."""
        if self._gpu is not None:
            self._tally.sample(self._gpu)

    def stop(self) -> GpuWatch:
        """Reads the sensors for the last time and returns the summary."""
        if self.end_thread():
            self.sample()
        else:
            self._tally.trouble = no_answer()
        return self._summary()

    def end_thread(self) -> bool:
        """Ends the sampling thread; False if it hangs in the driver, which is waited for only once."""
        if self._thread is None:
            return True
        timeout_s = 0.0 if self._stop.is_set() else ANSWER_S
        self._stop.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        self._thread = None
        return True

    def _summary(self) -> GpuWatch:
        tally = self._tally
        foreign, own_bytes = (None, None) if self._gpu is None else self._presence.count(tally, self._gpu)
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


class Presence:
    """The processes that were on the GPUs before this one; it starts watches. Nothing of it raises.

    Make it before this process touches a GPU: the process that has come by the first stop is then known to be this
    one, even in a container, where NVML may list processes by the host's ids.
    """

    def __init__(self) -> None:
        self._own_id: int | None = None
        self._last: Watch | None = None
        self._key: tuple[str | None, int] | None = None
        self._gpu: Handle | None = None
        self._trouble = ""
        self._before: dict[str, frozenset[int]] = {}
        with suppress(NvmlError):
            for gpu in everything():
                present = processes(gpu, Queries())
                if present is not None:
                    self._before[gpu.uuid] = frozenset(process.id for process in present)

    def watch(self, uuid: str | None, index: int = 0, *, period_s: float | None = None) -> Watch:
        """A new watch over torch's cuda:`index`, whose UUID is `uuid` if torch says; the one before it ends.

        With a period, a thread samples as well.
        """
        if self._last is not None and not self._last.end_thread():
            return Watch(self, None, no_answer(), None)
        if self._gpu is None or self._key != (uuid, index):
            self._key = uuid, index
            self._gpu, self._trouble = find(uuid, index)
        self._last = Watch(self, self._gpu, self._trouble or None, period_s)
        return self._last

    def count(self, tally: _Tally, gpu: Handle) -> tuple[int | None, int | None]:
        """The number of processes on `gpu` that are not this one, and the most memory that this one held."""
        if not tally.processes:
            return None, None
        new = tally.present - self._before.get(gpu.uuid, tally.present)
        if os.getpid() in tally.processes:
            self._own_id = os.getpid()
        elif self._own_id is None and len(new) == 1:
            (self._own_id,) = new
        if self._own_id in tally.processes:
            return len(tally.processes) - 1, tally.processes[self._own_id]
        # Of several that came at once one is this one, whichever; if none came, NVML doesn't show it.
        return len(tally.processes) - (self._own_id is None and bool(new)), None


def no_answer() -> str:
    """The trouble with a driver that hangs."""
    return f"NVML: no answer for {ANSWER_S:g} s"


@dataclass
class _Tally:
    """The aggregate of all samples, none of which is kept."""

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
            self.clocks = _range((*self.clocks, now.sm_clock_mhz))
            if "gpu_idle" not in (now.reasons or ()):
                self.busy_clocks = _range((*self.busy_clocks, now.sm_clock_mhz))
        self.temperature_c = _max(self.temperature_c, now.temperature_c)
        self.power_w = _max(self.power_w, now.power_w)
        self.used_bytes = _max(self.used_bytes, now.used_bytes)
        if now.processes is not None:
            self.present = frozenset(process.id for process in now.processes)
            for process in now.processes:
                self.processes[process.id] = _max(self.processes.get(process.id), process.used_bytes)


def _keep_sampling(gpu: Handle, tally: _Tally, stop: Event, period_s: float) -> None:
    """Samples until `stop` is set, or until something is wrong with the GPU, which more calls won't fix."""
    while tally.trouble is None and not stop.wait(period_s):
        tally.sample(gpu)


def _increase(tally: _Tally, count: Callable[[Health], Number | None]) -> Number | None:
    """The growth of a counter, or None where it can't be read or started again (the driver was reloaded)."""
    if tally.first is None or tally.last is None:
        return None
    before, after = count(tally.first), count(tally.last)
    return None if before is None or after is None or after < before else after - before


def _ecc_errors(health: Health) -> int | None:
    if health.ecc_corrected is None or health.ecc_uncorrected is None:
        return None
    return health.ecc_corrected + health.ecc_uncorrected


def _range(values: tuple[int, ...]) -> tuple[int, int]:
    return min(values), max(values)


def _max(known: Number | None, new: Number | None) -> Number | None:
    return max((value for value in (known, new) if value is not None), default=None)
