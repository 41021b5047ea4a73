"""The time that a device works, without the host: its queue is held back until whole rounds are launched.

A device that works by itself runs dry where the host launches more slowly than it works; an event before and one after
a step then measure the host. Here a kernel that spins comes first, then one round after the other is launched, each
between two marks, and the device begins when the spin ends. A round counts if its last launch came before that: it
was worked on without waiting. Rounds that did not get in time are launched again, after a longer hold.

A queue is not endless (about a thousand launches for CUDA): the host stops where it is full, and goes on when the spin
has ended. So rounds too many for the queue are too late like those of a slow host, and go into another hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol

from bnsuite.measure.clock import Rounds

if TYPE_CHECKING:
    from bnsuite.cases import Step

#: Steps that are launched without a hold, to see how long the host takes for one: the median, since the first is slow.
PROBES = 3
#: A hold is so many times as long as the host is expected to take, and this many seconds more.
HOLD_FACTOR, HOLD_S = 2.0, 0.5e-3
#: No hold is longer.
MAX_HOLD_S = 0.25
#: Holds without any round in time, each twice as long as the one before, until a step is taken to wait for the device.
TRIES = 5
#: More steps are never launched into one hold to see how many fit: the queue takes about as many launches.
MAX_STEPS = 1000
#: Launches that a round has besides its steps.
MARKS = 2
#: A launch that takes so many times as long as usual was kept waiting, by a queue that is full or by the step itself.
KEPT_WAITING = 10
#: A round has no more than this share of the steps that fitted into a hold.
FIT = 0.8
#: Cycles of the first spin, whose length is not known yet, and the rates between which that of any device lies.
FIRST_CYCLES, MIN_RATE, MAX_RATE = 1_000_000, 1e8, 1e10


class Mark(Protocol):
    """A point in a queue."""

    def reached(self) -> bool:
        """True if the device is through with all work before it; never waits."""

    def seconds_since(self, earlier: Any) -> float:
        """Seconds of the device since another mark of the same queue; both were reached."""


class Queue(Protocol):
    """The queue of a device, and the clock of the host that fills it."""

    def spin(self, cycles: int) -> None:
        """Launch a kernel that keeps the queue busy for so many cycles of the device."""

    def mark(self) -> Mark:
        """Put a mark behind all that was launched so far."""

    def wait(self) -> None:
        """Return when the device is through with all launched work."""

    def now_s(self) -> float:
        """Seconds by the host's clock."""


@dataclass(frozen=True)
class Pace:
    """How a step can be timed."""

    #: Seconds of the clock that is judged, and of the host and the device together, per step.
    step_s: float
    wall_s: float
    #: The most steps of a round that can be held; None for any number.
    max_iterations: int | None = None
    #: False for a step that waits for the device, or is larger than the queue: only its elapsed time can be taken.
    held: bool = True
    #: Seconds that the host takes to launch one step, with its setup; None if unknown.
    host_s: float | None = None


@dataclass(frozen=True)
class _Launched:
    """One round that was launched: its marks, and the seconds that the host took."""

    begin: Mark
    end: Mark
    host_s: float


@dataclass(frozen=True)
class _Hold:
    """A spin between two marks."""

    begin: Mark
    end: Mark
    cycles: int


class HeldQueue:
    """Times rounds on a queue that it holds back. It learns the rate of the spin, and is made once per process."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._cycles_per_s = 0.0

    def time_rounds(
        self, step: Step, rounds: int, iterations: int = 1, setup: Step | None = None, host_s: float | None = None
    ) -> Rounds:
        """The time of the device and that of the host, of rounds that were held.

        `setup` is launched before each round, in the same hold and outside of the marks. `host_s` is what the host is
        known to take per step (see :class:`Pace`); without it, a few steps are launched first to measure it. Rounds
        that can't be held are timed as they elapse, all of them, and the result says so.
        """
        found: list[_Launched] = []
        if host_s is None:
            host_s = self._probe(step, setup)
        else:
            self._queue.wait()  # what is under way takes no place in the queue
        fit, tries, longer = max(1, MAX_STEPS // (iterations + MARKS)), 0, 1.0
        while len(found) < rounds:
            count = min(fit, rounds - len(found))
            hold_s = min(MAX_HOLD_S, longer * (HOLD_FACTOR * host_s * iterations * count + HOLD_S))
            launched, in_time = self._hold(step, count, iterations, setup, hold_s)
            if launched:
                found += launched
                tries = 0
                host_s = max(host_s, *(one.host_s / iterations for one in launched))
            else:
                tries += 1
                if tries == TRIES:
                    return self.time_elapsed(step, rounds, iterations, setup)
            if not in_time:
                fit, longer = max(1, len(launched)), 2 * longer
        return Rounds(
            [one.end.seconds_since(one.begin) / iterations for one in found],
            [one.host_s / iterations for one in found],
            held=True,
        )

    def time_elapsed(self, step: Step, rounds: int, iterations: int = 1, setup: Step | None = None) -> Rounds:
        """The elapsed time of rounds, each launched when the device is through with all before it."""
        found: list[_Launched] = []
        self._queue.wait()
        for _ in range(rounds):
            found.append(self._launch(step, iterations, setup))
            self._queue.wait()
        return Rounds(
            [one.end.seconds_since(one.begin) / iterations for one in found],
            [one.host_s / iterations for one in found],
            held=False,
        )

    def pace(self, step: Step, step_s: float, round_s: float, setup: Step | None = None) -> Pace:
        """How a step that takes the device about `step_s` can be timed in rounds of about `round_s`."""
        wanted = 1 if setup is not None else max(1, round(round_s / step_s))
        host_s = self._probe(step, setup)
        fitted, wall_s = self._fitting(step, min(MAX_STEPS, wanted), setup, host_s)
        if fitted == 0:
            return Pace(step_s, wall_s, held=False)
        return Pace(step_s, wall_s, None if fitted == wanted else max(1, int(FIT * fitted)), host_s=host_s)

    def _fitting(self, step: Step, most: int, setup: Step | None, usual_s: float) -> tuple[int, float]:
        """The number of steps, up to `most`, that are launched before a hold for them ends; and seconds per step."""
        hold_s = HOLD_FACTOR * usual_s * most + HOLD_S
        fitted, wall_s = 0, usual_s
        for _ in range(TRIES):
            begin_s = self._queue.now_s()
            fitted, last_s = self._fill(step, most, setup, min(MAX_HOLD_S, hold_s))
            wall_s = (self._queue.now_s() - begin_s) / max(1, fitted)
            if fitted == most or (fitted > 0 and last_s > KEPT_WAITING * usual_s):
                break
            hold_s *= 2
        return fitted, wall_s

    def _fill(self, step: Step, most: int, setup: Step | None, hold_s: float) -> tuple[int, float]:
        """Launches up to `most` steps into a held queue; returns how many came in time, and how long the last took."""
        hold = self._begin_hold(hold_s)
        if setup is not None:
            setup()
        fitted, last_s = 0, 0.0
        while fitted < most:
            begin_s = self._queue.now_s()
            step()
            last_s = self._queue.now_s() - begin_s
            if hold.end.reached():
                break
            fitted += 1
        self._end_hold(hold)
        return fitted, last_s

    def _probe(self, step: Step, setup: Step | None) -> float:
        """Seconds that the host takes to launch one step, with its setup, into an empty queue."""
        self._queue.wait()
        seconds = []
        for _ in range(PROBES):
            begin_s = self._queue.now_s()
            if setup is not None:
                setup()
            step()
            seconds.append(self._queue.now_s() - begin_s)
        self._queue.wait()
        return median(seconds)

    def _hold(
        self, step: Step, rounds: int, iterations: int, setup: Step | None, hold_s: float
    ) -> tuple[list[_Launched], bool]:
        """Launches rounds into a queue held for `hold_s`; returns those that came in time, and if these are all.

        Waits once, at the end.
        """
        hold = self._begin_hold(hold_s)
        found: list[_Launched] = []
        in_time = True
        for _ in range(rounds):
            one = self._launch(step, iterations, setup)
            if hold.end.reached():
                in_time = False
                break
            found.append(one)
        self._end_hold(hold)
        return found, in_time

    def _launch(self, step: Step, iterations: int, setup: Step | None) -> _Launched:
        if setup is not None:
            setup()
        begin = self._queue.mark()
        begin_s = self._queue.now_s()
        for _ in range(iterations):
            step()
        host_s = self._queue.now_s() - begin_s
        return _Launched(begin, self._queue.mark(), host_s)

    def _begin_hold(self, seconds: float) -> _Hold:
        """Holds the queue back for about `seconds`."""
        if not self._cycles_per_s:
            self._spin(FIRST_CYCLES)  # the first one loads the kernel
            first = self._spin(FIRST_CYCLES)
            self._queue.wait()
            self._learn(first)
        return self._spin(int(seconds * self._cycles_per_s))

    def _end_hold(self, hold: _Hold) -> None:
        """Waits for all work, and learns how long the spin was."""
        self._queue.wait()
        self._learn(hold)

    def _learn(self, hold: _Hold) -> None:
        took_s = max(hold.end.seconds_since(hold.begin), hold.cycles / MAX_RATE)
        self._cycles_per_s = max(MIN_RATE, hold.cycles / took_s)

    def _spin(self, cycles: int) -> _Hold:
        begin = self._queue.mark()
        self._queue.spin(cycles)
        return _Hold(begin, self._queue.mark(), cycles)
