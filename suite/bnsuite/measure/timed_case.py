"""The one maker of timing samples: builds a case, warms it up, plans its rounds and records what happened meanwhile.

Three paths use it, each with numbers of its own: cases and ratios of a run, whose rounds pytest-benchmark drives
(:data:`RUN`, :data:`RATIO`), and the blocks of a comparison (:mod:`bnsuite.measure.interleaved`), whose rounds the
outer half asks for.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter, thread_time
from types import TracebackType
from typing import TYPE_CHECKING

from bnsuite.cases import distributed, skips
from bnsuite.cases.execution import Execution, TimedBy
from bnsuite.measure import fault_injection
from bnsuite.measure.clock import Rounds, process_cpu_s
from bnsuite.measure.control import Controls
from bnsuite.measure.devices import KINDS
from bnsuite.measure.devices.held_queue import Pace
from bnsuite.measure.warm_up import warm_up

if TYPE_CHECKING:
    from typing_extensions import Self

    from bnsuite.cases import Case, RatioCase, Step
    from bnsuite.measure.devices import Device, Telemetry
    from bnsuite.measure.nvml import GpuWatch

#: The periods at which a device's sensors are sampled while it works: through rounds that last an epoch, and through
#: those of a step, which take a quarter of a second in all.
EPOCH_SAMPLING_S, STEP_SAMPLING_S = 1.0, 0.05


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The numbers by which rounds are planned."""

    #: Seconds per round: long enough for the clock.
    round_s: float
    #: Seconds for all rounds of a case, within the bounds on their number.
    budget_s: float
    min_rounds: int
    max_rounds: int

    def on(self, device: type[Device] | Device) -> Policy:
        """The same policy, with rounds as long as the device needs them, and no more of these than it needs."""
        most = self.max_rounds if device.max_rounds is None else min(self.max_rounds, device.max_rounds)
        return replace(self, round_s=max(self.round_s, device.min_round_s), max_rounds=most)

    def plan(self, steps: Sequence[Pace], *, cold: bool = False) -> tuple[int, int]:
        """Rounds, and iterations per round, for steps that are all timed in each round.

        The caches are emptied before each round of a cold case: its rounds are of one step.
        """
        iterations = 1 if cold else max(1, round(self.round_s / min(one.step_s for one in steps)))
        iterations = min([iterations, *(one.max_iterations for one in steps if one.max_iterations is not None)])
        rounds = int(self.budget_s / (sum(one.wall_s for one in steps) * iterations))
        return min(self.max_rounds, max(self.min_rounds, rounds)), iterations


#: A case of a run: short enough for the quick profile.
RUN = Policy(round_s=1e-3, budget_s=0.25, min_rounds=7, max_rounds=50)
#: A ratio of a run: a round times a block of both steps, and half of the rounds begin with the one.
RATIO = Policy(round_s=1e-3, budget_s=0.3, min_rounds=8, max_rounds=40)


def planned_s(case: Case) -> dict[str, float]:
    """Seconds of warm-up and rounds of a case in one launch, by kind of device; longer steps take longer.

    Of a training it is the warm-up alone, of a case that is not timed there is none.
    """
    if "timing" not in case.gates:
        return {}
    steps, policy = (2, RATIO) if case.kind == "ratio" else (1, RUN)
    planned = {}
    for kind, device in KINDS.items():
        here = policy.on(device)
        longest_s = min(here.budget_s, steps * here.round_s * here.max_rounds)
        planned[kind] = steps * device.warm_up_s + (longest_s if case.rounds is None else 0.0)
    return planned


@dataclass(frozen=True, kw_only=True)
class TimingSample:
    """One case in one launch, as ``Timing`` in JSON: seconds per step, one value per round, and what goes with it."""

    samples_s: list[float]
    iterations: int
    controls_s: dict[str, list[float]]
    cpu_share: float | None
    gpu: GpuWatch | None
    memory: dict[str, int | None]
    examples: int | None = None
    #: Seconds that the host took to launch a step, one value per round; None on a CPU.
    host_s: list[float] | None = None
    #: `samples_s` are the device's own time; None on a CPU.
    held: bool | None = None
    #: CPU seconds of all threads over wall seconds, while the rounds ran; None for several processes.
    cores_busy: float | None = None


class CoreShare:
    """A context that measures this thread's CPU time over wall time, and that of all threads.

    On a device that works on the thread's core the share is near 1; less means that something else had the core.
    """

    def __init__(self, device: Device, processes: int = 1) -> None:
        self._alone = processes == 1  # one of several waits for the others
        self._measured = device.works_on_core and self._alone
        self._begin_s = self._begin_cpu_s = self._begin_all_s = 0.0
        #: None on a device that does its work elsewhere, and of one of several processes.
        self.value: float | None = None
        #: The number of cores that the process kept busy; None of one of several processes.
        self.cores: float | None = None

    def __enter__(self) -> Self:
        self._begin_all_s = process_cpu_s()
        self._begin_s, self._begin_cpu_s = perf_counter(), thread_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wall_s, cpu_s = perf_counter() - self._begin_s, thread_time() - self._begin_cpu_s
        if self._measured:
            self.value = cpu_s / wall_s
        if self._alone:
            self.cores = (process_cpu_s() - self._begin_all_s) / wall_s


class Conditions:
    """A context around the rounds of a run: the share of the core, and the device's telemetry."""

    def __init__(self, device: Device, *, period_s: float | None = None, processes: int = 1) -> None:
        self._device, self._period_s = device, period_s
        self._share = CoreShare(device, processes)
        self._telemetry: Telemetry | None = None
        #: None on a device without sensors.
        self.gpu: GpuWatch | None = None

    @property
    def cpu_share(self) -> float | None:
        return self._share.value

    @property
    def cores_busy(self) -> float | None:
        return self._share.cores

    def __enter__(self) -> Self:
        self._telemetry = self._device.watch(self._period_s)
        self._share.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._share.__exit__(kind, error, trace)
        if self._telemetry is not None:
            self.gpu = self._telemetry.stop()


def alone(case: Case) -> None:
    """Has `case` timed without the ranks of an earlier one, idle processes and threads, unless it has ranks itself."""
    if case.ranks == 1:
        distributed.end_ranks()


def build(case: Case, device: Device, seed: int = 0) -> Step:
    """The whole step of `case` on `device`, executed as the case declares.

    Raises UndeclaredError for a case that the implementation, if there is one, does not declare to support.
    """
    skips.begin(case, device.name)
    return device.run_as(case.execution, case.build(device.name, seed))


def is_cold(case: Case) -> bool:
    """True if caches are emptied before each round, which is of one step then."""
    return case.execution is Execution.COLD


def flush_of(case: Case, device: Device) -> Step | None:
    """The step that runs before each round of a cold case; None for other cases."""
    return device.flush() if is_cold(case) else None


def warmed_up(step: Step, device: Device, by: TimedBy, round_s: float, *, setup: Step | None = None) -> Pace:
    """Warms `step` up; returns how it can be timed: of the elapsed time, a round may have any number of steps."""
    step_s = warm_up(step, device, by)
    return Pace(step_s, step_s) if by is TimedBy.ELAPSED else device.pace(step, step_s, round_s, setup)


#: Seconds per step of cases in this process whose rounds pytest-benchmark does not time itself, all added up.
_of_case_s = [0.0]


def seconds_of_case() -> float:
    """A clock for pytest-benchmark around rounds that are timed inside: it advances by a case's seconds per step only.

    A round of a ratio times two cases, and a round that is held contains the hold: their sums would mean nothing in
    pytest-benchmark's table and JSON.
    """
    return _of_case_s[0]


class TimedCase:
    """A case of a run, warmed up and planned. Its creator drives the rounds, then asks for the :meth:`sample`.

    Raises DataError if the case's data is not available.
    """

    def __init__(self, case: Case, device: Device, policy: Policy = RUN) -> None:
        alone(case)
        self._case, self._device = case, device
        #: Runs before each round, untimed. A queue that is held has to be paced with it.
        self.setup = flush_of(case, device) if device.holds_queue else None
        # The step that is warmed up is not the one that is timed: a training starts its rounds untrained.
        self._warm: Step | None = build(case, device)
        self._by = case.timed_by
        self.rounds, self.iterations = self._plan(self._warm, policy.on(device))
        if device.holds_queue:  # its allocator keeps the memory, so that nothing is allocated anew in the first round
            self._warm = None
            gc.collect()
        self.step = build(case, device)
        if case.rounds is None:
            self.step()  # work that is done once, such as compiling, is not part of the first round
        self._controls = Controls(case.nbytes, device, case.controls(self.step))
        self._controls.sample()
        if not device.holds_queue:
            self.setup = flush_of(case, device)
        self._timed: Rounds | None = None
        self._next = 0
        period_s = STEP_SAMPLING_S if case.rounds is None else EPOCH_SAMPLING_S
        self.conditions = Conditions(device, period_s=period_s, processes=case.processes)

    def _plan(self, step: Step, policy: Policy) -> tuple[int, int]:
        case, device = self._case, self._device
        if case.rounds is None:
            pace = warmed_up(step, device, self._by, policy.round_s, setup=self.setup)
            if not pace.held:
                self._by = TimedBy.ELAPSED
            return policy.plan([pace], cold=is_cold(case))
        if case.long:
            case.smoke_step(step)()
        else:
            warm_up(step, device, self._by)
        return case.rounds, 1

    def time_rounds(self) -> None:
        """Times all rounds at once, without pytest-benchmark."""
        self._timed = self._device.time_rounds(self.step, self.rounds, self.iterations, self.setup, self._by)

    def next_round(self) -> None:
        """Lets :func:`seconds_of_case` advance by one round: what pytest-benchmark times where rounds are held.

        The first call times all of them, since they are launched together.
        """
        if self._timed is None:
            self.time_rounds()
        assert self._timed is not None
        _of_case_s[0] += self._timed.device_s[self._next % self.rounds]
        self._next += 1

    def sample(self, samples_s: Sequence[float] = ()) -> TimingSample:
        """The finished sample; times the controls again and measures memory.

        `samples_s` are seconds per step of each round, if its creator has timed them.
        """
        timed = self._timed or Rounds(list(samples_s))
        self._case.verify(self.step)
        self._controls.sample()
        return TimingSample(
            samples_s=[fault_injection.of_process().clock(seconds) for seconds in timed.device_s],
            iterations=self.iterations,
            controls_s=self._controls.samples,
            cpu_share=self.conditions.cpu_share,
            gpu=self.conditions.gpu,
            examples=self._case.examples(self.step),
            memory=self._device.memory(self._case.smoke_step(self.step)),
            host_s=timed.host_s,
            held=timed.held,
            cores_busy=self.conditions.cores_busy,
        )


class TimedRatio:
    """Two cases of a run that are timed by turns. A call is one round: a block of each, in alternating order."""

    def __init__(self, ratio: RatioCase, device: Device, policy: Policy = RATIO) -> None:
        alone(ratio)
        self._device = device
        self._pair = build(ratio.numerator, device), build(ratio.denominator, device)
        policy = policy.on(device)
        self._paces = [warmed_up(step, device, ratio.timed_by, policy.round_s) for step in self._pair]
        #: Both sides by one clock: by the elapsed time, if one of them can't be held.
        self._by = ratio.timed_by if all(pace.held for pace in self._paces) else TimedBy.ELAPSED
        self.rounds, self.iterations = policy.plan(self._paces)
        self.conditions = Conditions(device, period_s=STEP_SAMPLING_S, processes=ratio.processes)
        self._round = 0
        self._samples_s: tuple[list[float], list[float]] = ([], [])
        self._host_s: tuple[list[float], list[float]] = ([], [])
        self._held: bool | None = None

    def __call__(self) -> None:
        for side in (0, 1) if self._round % 2 == 0 else (1, 0):
            host_s = self._paces[side].host_s
            timed = self._device.time_rounds(self._pair[side], 1, self.iterations, by=self._by, host_s=host_s)
            self._samples_s[side].extend(timed.device_s)
            self._host_s[side].extend(timed.host_s or ())
            self._held = timed.held if self._held is None else self._held and timed.held
            if side == 0:
                _of_case_s[0] += timed.device_s[0]
        self._round += 1

    def sample(self) -> TimingSample:
        """The finished sample; the case that it is compared with stands among the controls, as "partner"."""
        return TimingSample(
            samples_s=self._samples_s[0],
            iterations=self.iterations,
            controls_s={
                "partner": self._samples_s[1],
                **({"partner_host": self._host_s[1]} if self._host_s[1] else {}),
            },
            cpu_share=self.conditions.cpu_share,
            gpu=self.conditions.gpu,
            memory={"allocated_peak_bytes": None},
            host_s=self._host_s[0] or None,
            held=self._held,
        )
