"""The launches of a comparison: one worker per side, on the same cores, and only one of them works at any time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from bnsuite.launch.interleaved.blocks import BlockPlan, InterleavedCase, OutOfTimeError, SideError, SkippedError
from bnsuite.launch.interleaved.sides import PreparedPair
from bnsuite.launch.process import isolation
from bnsuite.launch.process.child import ChildError
from bnsuite.launch.process.messages import StartAnswer
from bnsuite.launch.process.worker import START_UP, START_UP_S, RequestFailedError, Worker
from bnsuite.record import interleaved
from bnsuite.record.errors import NotMeasuredError
from bnsuite.record.folder import SIDES
from bnsuite.record.interleaved import InterleavedTimes, PairedCase, PairedLaunch

#: Seconds a step, by control.
Samples = dict[str, tuple[float, ...]]

#: The time of a case in a launch, within these: its share of the start-up, but long enough for the first look to decide
#: most cases (see docs/results/interleaving.md).
MIN_CASE_S, MAX_CASE_S = 1.5, 3.0
#: Controls decide nothing.
CONTROL_S = 0.2
#: The expected time of a case in one launch, as long as none was timed.
USUAL_S = 2.0
#: A case that was begun may take this many times its expected time, whatever the deadline.
MAX_OVERRUN = 2.0
#: Memory is exact: it is measured in the first launches, which must agree.
MEMORY_LAUNCHES = 3

#: So much of the heap has pages behind it before anything is timed, and this many times the bytes of the largest case:
#: with them no layer of the quick profile met a page for the first time (see docs/results/interleaving.md).
HEAP_BYTES, HEAP_TIMES = 128 << 20, 3

#: The ids of the controls, and their names beside a case.
CONTROLS = {"control/copy": "copy", "control/linear": "linear"}
#: Those that a GPU has besides: the clock of its arithmetic units, and the host that launches its work.
GPU_CONTROLS = {"control/compute": "compute", "control/launch": "launch"}


class LostLaunchError(NotMeasuredError):
    """A launch ended before it could time any case; `side` names its environment, if one side is the cause."""

    def __init__(self, side: str | None, reason: str) -> None:
        super().__init__(f"{side}: {reason}" if side else reason)
        self.side = side


@dataclass(frozen=True)
class _Processes:
    """The two processes of a launch, the request that warms one up, and the deadline (monotonic) of its cases."""

    workers: tuple[Worker, Worker]
    warm_up: dict[str, Any]
    deadline: float | None


class InterleavedLaunches:
    """The launches of a prepared comparison, whose times go into `folder`."""

    def __init__(
        self,
        pair: PreparedPair,
        folder: Path,
        *,
        seed: int,
        most_launches: int,
        budget_s: float | None,
        injected: dict[str, float],
    ) -> None:
        self._pair, self._folder, self._injected = pair, folder, injected
        #: Launches that were begun, and those of them that were lost.
        self.begun = self.lost = 0
        self._counted: set[int] = set()
        #: The duration of each case in its last launch, and in how many its memory was measured.
        self._seconds: dict[str, float] = {}
        self._peaks: Counter[str] = Counter()
        self._start_s = 0.0
        self._cores = pair.a.session.timed_cores
        self._controls = CONTROLS if pair.b.device == "cpu" else {**CONTROLS, **GPU_CONTROLS}
        libcs = [side.run.environment.libc for side in pair.sides]
        self._huge_pages = all(map(isolation.takes_huge_pages, libcs))
        self.times = InterleavedTimes(
            schema=InterleavedTimes.SCHEMA,
            a=pair.a.environment.name,
            b=pair.b.environment.name,
            seed=seed,
            most_launches=most_launches,
            budget_s=budget_s,
            variables={},
            injected=injected,
            cases=(),
        )
        interleaved.save(self.times, folder)

    @property
    def counted(self) -> int:
        """The launches in which any case was timed."""
        return len(self._counted)

    def names(self) -> list[str]:
        """Returns the cases that both sides can time."""
        of_a, of_b = (side.recorder.ids("timing") for side in self._pair.sides)
        return [name for name in of_a if name in set(of_b)]

    def has_time(self, names: Iterable[str], deadline: float | None) -> bool:
        """Returns True if a launch could time any of `names` before `deadline`, by the duration of earlier ones."""
        shortest = min(self._expected_s(name) for name in names)
        return deadline is None or monotonic() + self._overhead_s + shortest < deadline

    def expected_s(self, names: Iterable[str]) -> float:
        """Returns the seconds that a launch of all `names` would take, by the duration of earlier ones."""
        return self._overhead_s + sum(self._expected_s(name) for name in names)

    @property
    def _overhead_s(self) -> float:
        """Seconds of a launch before its first case: the start of both processes, and the controls."""
        return self._start_s + sum(self._seconds.get(name, CONTROL_S) for name in self._controls)

    def _expected_s(self, name: str) -> float:
        return self._seconds.get(name, USUAL_S)

    def launch(self, names: Collection[str], confirming: Collection[str] = (), deadline: float | None = None) -> None:
        """Times `names` once more in a fresh pair of processes, those in `confirming` to confirm what they showed.

        Cases for which there is no time before `deadline` (monotonic) are left out. Raises LostLaunchError if a side
        fails before the first case, though not for a lack of time after an earlier launch.
        """
        self.begun += 1
        self._pair.progress.expect(len(names))
        began = monotonic()
        # A worker ends with the thread that started it: the threads stay until the launch is over. Nothing is written
        # while something is timed.
        with ExitStack() as stack:
            stack.callback(lambda: interleaved.save(self.times, self._folder))
            for side in self._pair.sides:
                stack.enter_context(side.recorder.batch())
            pool = stack.enter_context(ThreadPoolExecutor(len(SIDES)))
            processes = _Processes(self._workers(), self._warm_up_request(names), deadline)
            for worker in processes.workers:
                stack.callback(worker.end)
            try:
                self._warm_up_all(pool, processes)
                self._start_s = monotonic() - began
                with isolation.coordinator_apart(self._cores, self._pair.a.session.cores):
                    self._time_cases(self._in_order(names, confirming), confirming, processes)
            except LostLaunchError:
                if self.counted and deadline is not None and monotonic() > deadline:
                    return
                self.lost += 1
                raise

    def _chance(self, name: str = "") -> random.Random:
        """Returns the random numbers of a launch, or of a case in it, which follow from the seed alone."""
        return random.Random(f"{self.times.seed}/{self.begun}/{name}")  # noqa: S311  # no secret

    def _workers(self) -> tuple[Worker, Worker]:
        a, b = (
            side.session.worker(f"{name}-launch", torch_first=True, huge_pages=self._huge_pages)
            for name, side in zip(SIDES, self._pair.sides, strict=True)
        )
        return a, b

    def _warm_up_request(self, names: Collection[str]) -> dict[str, Any]:
        """Returns the request by which a process prepares for the cases `names`."""
        run = self._pair.b.run
        cases = [result.case for result in run.cases if result.id in names]
        heap = HEAP_BYTES + HEAP_TIMES * max((case.nbytes or 0 for case in cases), default=0)
        return {
            "do": "prepare",
            "cores": list(self._cores),
            "trains": any(case.kind == "training" for case in cases),
            "heap": heap if run.device == "cpu" else 0,
        }

    def _warm_up_all(self, pool: ThreadPoolExecutor, processes: _Processes) -> None:
        """Has torch imported on both sides, on any core; both are through when this raises."""
        deadline = processes.deadline
        limit_s = START_UP_S if deadline is None else max(1.0, min(START_UP_S, deadline - monotonic()))
        answers = [pool.submit(self._warm_up, place, processes, limit_s) for place in range(len(SIDES))]
        slow = wait(answers, None if deadline is None else limit_s).not_done
        if slow:
            for worker in processes.workers:
                worker.close()
            wait(answers)
            side = self._pair.sides[0 if answers[0] in slow else 1].environment.name
            raise LostLaunchError(side, f"no answer after {limit_s:.0f} s, when the budget ended")
        tunables = {side: answer.result() for side, answer in zip(SIDES, answers, strict=True)}
        variables = {side: {"GLIBC_TUNABLES": text} for side, text in tunables.items() if text}
        self.times = self.times.model_copy(update={"variables": variables})

    def _warm_up(self, place: int, processes: _Processes, limit_s: float = START_UP_S) -> str | None:
        """Has torch imported, then the timed cores taken; returns glibc's tunables as the process got them."""
        worker = processes.workers[place]
        try:
            return worker.ask(processes.warm_up, StartAnswer, limit_s, f"{START_UP} torch").tunables
        except (ChildError, RequestFailedError) as error:
            raise LostLaunchError(self._pair.sides[place].environment.name, str(error)) from error

    def _time_cases(self, names: Collection[str], confirming: Collection[str], processes: _Processes) -> None:
        """Times the controls, then the cases `names` in this order, as far as there is time."""
        controls: tuple[Samples, Samples] = ({}, {})
        for name, control in self._controls.items():
            case = self._time(name, processes, CONTROL_S)
            for place, side in enumerate(case.sides if case is not None else ()):
                controls[place][control] = side.rounds_s
        self.times = self.times.model_copy(update={"starts_s": (*self.times.starts_s, self._overhead_s)})
        case_s = max(MIN_CASE_S, min(MAX_CASE_S, self._start_s / max(1, len(names))))
        deadline = processes.deadline
        for name in names:
            if deadline is not None and monotonic() + self._expected_s(name) > deadline:
                self._pair.progress.expect(-1)
                continue
            self._time(name, processes, case_s, controls, confirms=name in confirming)
            self._pair.progress.advance(f"timing, launch {self.begun}", name)

    def _in_order(self, names: Collection[str], confirming: Collection[str]) -> list[str]:
        """Returns `names` in random order, but those to be confirmed first: the budget may end before the rest.

        Of either kind, steps of several ranks are last: the others are timed in processes that have had no ranks.
        """
        mixed = sorted(names)
        self._chance().shuffle(mixed)
        several = {result.id for result in self._pair.b.run.cases if result.case.ranks > 1}
        return sorted(mixed, key=lambda name: (name not in confirming, name in several))

    def _time(
        self,
        name: str,
        processes: _Processes,
        case_s: float,
        controls: tuple[Samples, Samples] | None = None,
        *,
        confirms: bool = False,
    ) -> InterleavedCase | None:
        """Times one case, or a control (without `controls`), and records it; None if it was not timed to its end."""
        memory = controls is not None and self._peaks[name] < MEMORY_LAUNCHES
        began = monotonic()
        sides = self._pair.sides
        case = InterleavedCase(
            name,
            processes.workers,
            self._chance(name),
            devices=[side.device for side in sides],
            timeouts_s=[side.options.timeout_s for side in sides],
            seed=self.begun,
            faults=({}, {} if controls is None else self._injected),
        )
        limit = processes.deadline and max(processes.deadline, began + MAX_OVERRUN * self._expected_s(name))
        try:
            plan = case.measure(case_s, memory=memory, deadline=None if controls is None else limit)
        except OutOfTimeError:
            self._seconds[name] = max(self._expected_s(name), monotonic() - began)
            return None
        except SideError as error:
            if controls is None:
                raise LostLaunchError(sides[error.place].environment.name, f"{error} ({name})") from error
            self._record_failure(name, error)
            for place, worker in enumerate(processes.workers):  # the other cases get two fresh processes
                worker.end()
                self._warm_up(place, processes)
            return None
        self._seconds[name] = monotonic() - began
        self._peaks[name] += memory
        self._record(name, case, plan, controls, confirms=confirms)
        return case

    def _record_failure(self, name: str, error: SideError) -> None:
        reason = f"{self._pair.sides[error.place].environment.name}: {error}"
        for side in self._pair.sides:
            if isinstance(error, SkippedError):
                side.recorder.skip(name, reason)
            else:
                side.fail(name, "timing", reason)

    def _record(
        self,
        name: str,
        case: InterleavedCase,
        plan: BlockPlan,
        controls: tuple[Samples, Samples] | None,
        *,
        confirms: bool,
    ) -> None:
        """Adds the launch of a case to the times and, unless it is a control, to both runs."""
        took = {"took_s": self._seconds[name]}
        self._add(name, case.launch(plan, confirms=confirms).model_copy(update=took))
        if controls is None:
            return
        self._counted.add(self.begun)
        for place, (side, samples) in enumerate(zip(self._pair.sides, case.sides, strict=True)):
            timing = samples.timing(plan.iterations, controls[place], confirms=confirms)
            side.recorder.add_timing(name, timing)

    def _add(self, name: str, launch: PairedLaunch) -> None:
        known = {one.id: one for one in self.times.cases}
        old = known.get(name, PairedCase(id=name))
        known[name] = old.model_copy(update={"launches": (*old.launches, launch)})
        self.times = self.times.model_copy(update={"cases": tuple(known.values())})
