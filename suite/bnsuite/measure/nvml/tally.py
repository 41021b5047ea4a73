"""What all samples of a watch amount to, none of which is kept but for clocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from time import perf_counter, thread_time
from typing import TypeVar

from bnsuite.measure.nvml.company import Seen
from bnsuite.measure.nvml.counters import held_s
from bnsuite.measure.nvml.handle import Handle
from bnsuite.measure.nvml.state import Health, health

Number = TypeVar("Number", int, float)

#: Reasons for lower clocks that spoil a measurement; a power cap and an idle GPU are normal.
THROTTLING = ("hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown")

#: The counters that show each of them, all of which must be there; where they are, samples decide nothing.
COUNTED_BY = {
    "hw_slowdown": (("hw_thermal_slowdown", "hw_power_brake_slowdown"),),
    "sw_thermal_slowdown": (("sw_thermal_slowdown",), ("thermal",)),
    "hw_thermal_slowdown": (("hw_thermal_slowdown",), ("thermal",)),
    "hw_power_brake_slowdown": (("hw_power_brake_slowdown",),),
}

#: Counters of reasons that spoil a measurement, and the share of its time from which they do: a change of the clocks
#: alone may count a moment as a slowdown.
THROTTLING_COUNTERS = ("thermal", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown")

MIN_HELD_SHARE = 0.01


@dataclass
class Tally:
    """The aggregate of all samples, of which only clocks are kept."""

    trouble: str | None = None
    first: Health | None = None
    last: Health | None = None
    #: All reasons, and those that were seen while the GPU worked.
    reasons: set[str] | None = None
    reasons_at_work: set[str] = field(default_factory=set)
    clocks: tuple[int, ...] = ()
    busy_clocks: tuple[int, ...] = ()
    clocks_at_work: list[int] = field(default_factory=list)
    temperature_c: int | None = None
    power_w: float | None = None
    averaged: bool | None = None
    used_bytes: int | None = None
    held: dict[int, int | None] = field(default_factory=dict)
    computing: set[int] = field(default_factory=set)
    present: frozenset[int] = frozenset()
    samples: int = 0
    sampling_s: float = 0.0
    began_s: float | None = None
    ended_s: float = 0.0
    lock: Lock = field(default_factory=Lock)

    @property
    def window_s(self) -> float | None:
        """Seconds from the first full look to the last, over which counters grew."""
        return None if self.began_s is None else self.ended_s - self.began_s

    @property
    def seen(self) -> Seen:
        """The processes of all samples."""
        first = self.first.processes if self.first is not None else None
        last = self.last.processes if self.last is not None else None
        return Seen(
            held=self.held,
            first=first or (),
            last=self.present,
            computing=frozenset(self.computing),
            listed=(first, last) != (None, None),
        )

    def sample(self, gpu: Handle, look: Callable[[Handle], Health], *, during: bool) -> None:
        """Adds what `look` finds; `during` the work, or before or after it."""
        begin_s = thread_time()
        now = look(gpu)
        with self.lock:
            self._add(now, full=look is health, during=during)
            self.sampling_s += thread_time() - begin_s

    def _add(self, now: Health, *, full: bool, during: bool) -> None:
        self.samples += 1
        self.trouble = self.trouble or now.trouble
        if full:
            self.first, self.last = self.first or now, now
            self.ended_s = perf_counter()
            self.began_s = self.ended_s if self.began_s is None else self.began_s
        busy = "gpu_idle" not in (now.reasons or ())
        if now.reasons is not None:
            self.reasons = (self.reasons or set()).union(now.reasons)
            if busy:
                self.reasons_at_work.update(now.reasons)
        if now.sm_clock_mhz is not None:
            self.clocks = _range((*self.clocks, now.sm_clock_mhz))
            if busy:
                self.busy_clocks = _range((*self.busy_clocks, now.sm_clock_mhz))
            if busy and during:
                self.clocks_at_work.append(now.sm_clock_mhz)
        self.temperature_c = _max(self.temperature_c, now.temperature_c)
        self.power_w = _max(self.power_w, now.power_w)
        self.averaged = now.averaged if now.averaged is not None else self.averaged
        self.used_bytes = _max(self.used_bytes, now.used_bytes)
        if now.processes is not None:
            self.present = frozenset(process.id for process in now.processes)
            self.computing.update(process.id for process in now.processes if process.computes)
            for process in now.processes:
                self.held[process.id] = _max(self.held.get(process.id), process.used_bytes)

    def growth(self, count: Callable[[Health], Number | None]) -> Number | None:
        """The growth of a counter, or None where it can't be read or began again (the driver was reloaded)."""
        if self.first is None or self.last is None:
            return None
        before, after = count(self.first), count(self.last)
        return None if before is None or after is None or after < before else after - before


def throttling(tally: Tally) -> tuple[dict[str, float] | None, tuple[str, ...] | None, tuple[str, ...]]:
    """Seconds by counted reason, the reasons that spoil a measurement, and those that samples had to tell."""
    held = None
    if tally.first is not None and tally.last is not None:
        held = held_s(tally.first.counters, tally.last.counters)
    counted = held or {}
    sampled = tuple(word for word in THROTTLING if not any(set(names) <= counted.keys() for names in COUNTED_BY[word]))
    if held is None and tally.reasons is None:
        return None, None, ()
    least_s = MIN_HELD_SHARE * (tally.window_s or 0.0)
    grew = [word for word in THROTTLING_COUNTERS if counted.get(word, 0.0) > least_s]
    seen = [word for word in sampled if word in tally.reasons_at_work]
    return held, tuple(dict.fromkeys((*seen, *grew))), sampled


def ecc_errors(health: Health) -> int | None:
    return sum_of(health.ecc_corrected, health.ecc_uncorrected)


def sum_of(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _range(values: tuple[int, ...]) -> tuple[int, int]:
    return min(values), max(values)


def _max(known: Number | None, new: Number | None) -> Number | None:
    return max((value for value in (known, new) if value is not None), default=None)
