"""Two environments timed in turns: a worker a side, on the same cores, and only one of them works at any time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any

from bnsuite.launch.interleaved.blocks import InterleavedCase, SideError, SkippedError
from bnsuite.launch.process import isolation
from bnsuite.launch.process.child import ChildError
from bnsuite.launch.process.messages import StartAnswer
from bnsuite.launch.process.worker import START_UP_S, Worker
from bnsuite.launch.session import Progress, Session
from bnsuite.record import interleaved
from bnsuite.record.folder import SIDES
from bnsuite.record.interleaved import PairedCase, PairedLaunch

#: Seconds a step, by control.
Samples = dict[str, tuple[float, ...]]

#: How long a case is timed in a launch, within these: what its share of the start-up took, but long enough for the
#: first look to decide most cases (see docs/results/lockstep.md).
MIN_CASE_S, MAX_CASE_S = 1.5, 3.0
#: Controls are told of and decide nothing.
CONTROL_S = 0.2
#: What timing a case in one launch takes, as long as none was timed.
USUAL_S = 2.0
#: Memory is exact: the first launches tell it, and must agree.
MEMORY_LAUNCHES = 3

#: So much of the heap has pages behind it before anything is timed, and this many times what the largest case moves:
#: with them no layer of the quick profile met a page for the first time (see docs/results/lockstep.md).
HEAP_BYTES, HEAP_TIMES = 128 << 20, 3

CONTROLS = ("control/copy", "control/linear")


class InterleavedLaunches:
    """The launches of a comparison; `sessions` are A's and B's, prepared, and `folder` is where their times go."""

    def __init__(
        self,
        sessions: tuple[Session, Session],
        folder: Path,
        listen: Callable[[Progress], None],
        *,
        seed: int,
        most_launches: int,
        budget_s: float | None,
        injected: dict[str, float],
    ) -> None:
        self._sessions, self._folder, self._listen, self._injected = sessions, folder, listen, injected
        self._launches = self._done = self._total = 0
        #: What a case took in its last launch, by name, and how often its memory was looked at.
        self._seconds: dict[str, float] = {}
        self._peaks: Counter[str] = Counter()
        self._start_s = 0.0
        self._ahead: dict[str, Any] = {}
        self._cores = sessions[0].timed_cores
        self._huge_pages = all(isolation.takes_huge_pages(session.measured.environment.libc) for session in sessions)
        self.times = interleaved.InterleavedTimes(
            schema=interleaved.InterleavedTimes.SCHEMA,
            a=sessions[0].site.name,
            b=sessions[1].site.name,
            seed=seed,
            most_launches=most_launches,
            budget_s=budget_s,
            variables=isolation.huge_pages() if self._huge_pages else {},
            injected=injected,
            cases=(),
        )
        interleaved.save(self.times, folder)

    def names(self) -> list[str]:
        """The cases that both sides can time."""
        ours, theirs = (session.recorder.ids("timing") for session in self._sessions)
        return [name for name in ours if name in set(theirs)]

    def has_time(self, names: Iterable[str], deadline: float | None) -> bool:
        """Whether a launch could time any of `names` before `deadline`, by what those before took."""
        least = min(self._expected_s(name) for name in names)
        return deadline is None or monotonic() + self._overhead_s + least < deadline

    def expected_s(self, names: Iterable[str]) -> float:
        """Seconds that a launch of all `names` would take, by what those before took."""
        return self._overhead_s + sum(self._expected_s(name) for name in names)

    @property
    def _overhead_s(self) -> float:
        """Seconds of a launch before its first case: the start of both processes, and the controls."""
        return self._start_s + sum(self._seconds.get(name, CONTROL_S) for name in CONTROLS)

    def _expected_s(self, name: str) -> float:
        return self._seconds.get(name, USUAL_S)

    def launch(self, names: Collection[str], confirming: Collection[str] = (), deadline: float | None = None) -> None:
        """Time `names` once more in a fresh pair of processes, those in `confirming` to confirm what they showed.

        What there is no time for before `deadline` (monotonic) is left out.
        """
        self._launches += 1
        self._total += len(names)
        began = monotonic()
        # A worker ends with the thread that started it: the threads stay until the launch is over. Nothing is written
        # while something is timed.
        with ExitStack() as stack:
            stack.callback(lambda: interleaved.save(self.times, self._folder))
            for session in self._sessions:
                stack.enter_context(session.recorder.together())
            pool = stack.enter_context(ThreadPoolExecutor(len(SIDES)))
            workers = self._workers()
            for worker in workers:
                stack.callback(worker.end)
            self._ahead = self._what_is_ahead(names)
            self._settle_all(pool, workers)
            self._start_s = monotonic() - began
            with isolation.coordinator_apart(self._cores, self._sessions[0].cores):
                self._time_all(self._in_order(names, confirming), workers, confirming, deadline)

    def _in_order(self, names: Collection[str], confirming: Collection[str]) -> list[str]:
        """`names` in chance's order, but what waits to be confirmed first: the budget may end before the rest."""
        mixed = sorted(names)
        self._chance().shuffle(mixed)
        return sorted(mixed, key=lambda name: name not in confirming)

    def _chance(self, name: str = "") -> random.Random:
        """What chance decides of a launch, or of a case in it: the same for the same seed, whatever took how long."""
        return random.Random(f"{self.times.seed}/{self._launches}/{name}")  # noqa: S311  # no secret

    def _settle_all(self, pool: ThreadPoolExecutor, workers: Iterable[Worker]) -> None:
        """Have torch imported on both sides wherever there is room; both are through when this raises."""
        settled = [pool.submit(self._settle, worker) for worker in workers]
        wait(settled)
        for one in settled:
            one.result()

    def _settle(self, worker: Worker) -> None:
        """Have torch imported wherever there is room, then stay on the timed cores."""
        worker.ask({"do": "prepare", **self._ahead}, StartAnswer, START_UP_S, "the limit for starting torch")

    def _what_is_ahead(self, names: Collection[str]) -> dict[str, Any]:
        """What a process should know of the cases `names` before any of them is timed."""
        run = self._sessions[1].recorder.run
        cases = [result.case for result in run.cases if result.id in names]
        heap = HEAP_BYTES + HEAP_TIMES * max((case.nbytes or 0 for case in cases), default=0)
        return {
            "cores": list(self._cores),
            "trains": any(case.family == "train" for case in cases),
            "heap": heap if run.device == "cpu" else 0,
        }

    def _workers(self) -> tuple[Worker, Worker]:
        a, b = self._sessions
        return (
            a.worker("a-launch", torch_first=True, huge_pages=self._huge_pages),
            b.worker("b-launch", torch_first=True, huge_pages=self._huge_pages),
        )

    def _time_all(
        self,
        names: list[str],
        workers: tuple[Worker, Worker],
        confirming: Collection[str],
        deadline: float | None,
    ) -> None:
        controls: tuple[Samples, Samples] = ({}, {})
        for name in CONTROLS:
            turns = self._time(name, workers, CONTROL_S, confirms=False)
            if turns is not None:
                for place, side in enumerate(turns.sides):
                    controls[place][name.partition("/")[2]] = tuple(side.blocks)
        case_s = max(MIN_CASE_S, min(MAX_CASE_S, self._start_s / max(1, len(names))))
        for name in names:
            if deadline is not None and monotonic() + self._expected_s(name) > deadline:
                self._total -= 1
                continue
            turns = self._time(name, workers, case_s, confirms=name in confirming)
            self._done += 1
            self._listen(Progress(f"timing, launch {self._launches}", name, self._done, self._total))
            if turns is not None:
                self._record(name, turns, controls, confirms=name in confirming)

    def _time(
        self, name: str, workers: tuple[Worker, Worker], case_s: float, *, confirms: bool
    ) -> InterleavedCase | None:
        """One case in one launch; None where it failed or was skipped, which is recorded."""
        control = name in CONTROLS
        memory = not control and self._peaks[name] < MEMORY_LAUNCHES
        began = monotonic()
        turns = InterleavedCase(
            name,
            workers,
            self._chance(name),
            devices=[session.recorder.run.device for session in self._sessions],
            timeouts_s=[session.options.timeout_s for session in self._sessions],
            seed=self._launches,
            faults=({}, {} if control else self._injected),
        )
        try:
            turns.take(case_s, memory=memory)
        except SideError as error:
            reason = f"{self._sessions[error.place].site.name}: {error}"
            if control:
                raise ChildError(f"{reason} ({name})") from error
            for session in self._sessions:
                if isinstance(error, SkippedError):
                    session.recorder.skip(name, reason)
                else:
                    session.fail(name, "timing", reason)
            for worker in workers:  # what failed was ended: the other cases get two fresh processes
                worker.end()
                self._settle(worker)
            return None
        self._seconds[name] = monotonic() - began
        self._peaks[name] += memory
        self._add(name, turns.pairs(confirms=confirms))
        return turns

    def _add(self, name: str, pairs: PairedLaunch) -> None:
        known = {one.id: one for one in self.times.cases}
        old = known.get(name, PairedCase(id=name))
        known[name] = old.model_copy(update={"launches": (*old.launches, pairs)})
        self.times = self.times.model_copy(update={"cases": tuple(known.values())})

    def _record(self, name: str, turns: InterleavedCase, controls: tuple[Samples, Samples], *, confirms: bool) -> None:
        """Put what one launch showed of a case into both runs."""
        for place, (session, side) in enumerate(zip(self._sessions, turns.sides, strict=True)):
            session.recorder.add_timing(name, side.timing(turns.iterations, controls[place], confirms=confirms))
