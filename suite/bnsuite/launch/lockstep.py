"""Two environments timed in turns: a worker a side, on the same cores, and only one of them works at any time."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any, TypeVar

from bnsuite.launch import quiet
from bnsuite.launch.child import ChildError
from bnsuite.launch.messages import Block, Done, Peak, Ready, Started
from bnsuite.launch.session import Progress, Session
from bnsuite.launch.worker import START_UP_S, RequestFailedError, Worker
from bnsuite.record import lockstep
from bnsuite.record.lockstep import SIDES, Compared, Pairs
from bnsuite.record.schema import GpuWatch, Memory, Timing

T = TypeVar("T")
#: Seconds a step, by control.
Samples = dict[str, tuple[float, ...]]

#: A round is long enough for the clock. Blocks are short: what else runs on the machine comes and goes within tens of
#: milliseconds, and the two sides of a pair should meet the same of it (see docs/results/lockstep.md).
ROUND_S, BLOCK_S = 0.3e-3, 3e-3
MOST_ROUNDS = 10
#: How long a case is timed in a launch, within these: as long as its share of the start-up took, which is the best
#: use of the time where what differs within a launch outweighs what differs between launches.
LEAST_CASE_S, MOST_CASE_S = 0.6, 3.0
LEAST_PAIRS = 8
#: What timing a case in one launch takes, as long as none was timed.
USUAL_S = 2.0
#: Memory is exact: the first launches tell it, and must agree.
MEMORY_LAUNCHES = 3

CONTROLS = ("control/copy", "control/linear")
_NO_MEMORY = Memory(allocated_peak_bytes=None)


class _SideError(Exception):
    """One side did not do what it was asked: `place` is 0 for A, 1 for B."""

    def __init__(self, place: int, reason: str) -> None:
        super().__init__(reason)
        self.place = place


class _SkippedError(Exception):
    """There is nothing of the case to be timed on one side."""


@dataclass
class _Side:
    """What one case showed on one side in one launch."""

    step_s: float = 0.0
    samples: list[float] = field(default_factory=list)
    blocks: list[float] = field(default_factory=list)
    shares: list[float | None] = field(default_factory=list)
    memory: Memory = _NO_MEMORY
    gpu: GpuWatch | None = None
    examples: int | None = None


class Lockstep:
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
        plant: dict[str, float],
    ) -> None:
        self._sessions, self._folder, self._listen, self._plant = sessions, folder, listen, plant
        self._chance = random.Random(seed)  # noqa: S311  # which side comes first is no secret
        self._launches = self._done = self._total = 0
        self._seconds: dict[str, float] = {}
        self._start_s, self._case_s = 0.0, LEAST_CASE_S
        self._cores = sessions[0].timed_cores
        self.times = lockstep.Lockstep(
            schema=lockstep.Lockstep.SCHEMA,
            a=sessions[0].site.name,
            b=sessions[1].site.name,
            seed=seed,
            most_launches=most_launches,
            budget_s=budget_s,
            variables=quiet.huge_pages(),
            cases=(),
        )
        lockstep.save(self.times, folder)

    def names(self) -> list[str]:
        """The cases that both sides can time."""
        ours, theirs = (session.recorder.ids("timing") for session in self._sessions)
        return [name for name in ours if name in set(theirs)]

    def has_time(self, names: Iterable[str], deadline: float | None) -> bool:
        """Whether a launch could time any of `names` before `deadline`, by what those before took."""
        least = min(self._expected_s(name) for name in names)
        start_s = self._start_s + sum(self._expected_s(name) for name in CONTROLS)
        return deadline is None or monotonic() + start_s + least < deadline

    def _expected_s(self, name: str) -> float:
        return self._seconds.get(name, USUAL_S)

    def launch(self, names: Collection[str], confirming: Collection[str] = (), deadline: float | None = None) -> None:
        """Time `names` once more in a fresh pair of processes, those in `confirming` to confirm what they showed.

        What there is no time for before `deadline` (monotonic) is left out.
        """
        self._launches += 1
        self._total += len(names)
        began = monotonic()
        # A worker ends with the thread that started it: the threads stay until the launch is over.
        with ThreadPoolExecutor(len(SIDES)) as pool:
            workers = self._workers()
            try:
                for settled in [pool.submit(self._settle, worker) for worker in workers]:
                    settled.result()
                self._start_s = monotonic() - began
                with quiet.coordinator_apart(self._cores, self._sessions[0].cores):
                    self._time_all([*names], workers, confirming, deadline)
            finally:
                for worker in workers:
                    worker.end()
                lockstep.save(self.times, self._folder)

    def _settle(self, worker: Worker) -> None:
        """Have torch imported wherever there is room, then stay on the timed cores."""
        worker.ask({"do": "settle", "cores": list(self._cores)}, Started, START_UP_S, "the limit for starting torch")

    def _workers(self) -> tuple[Worker, Worker]:
        a, b = self._sessions
        return (
            a.worker("a-launch", torch_first=True, huge_pages=True),
            b.worker("b-launch", torch_first=True, huge_pages=True),
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
            sides = self._time(name, workers, confirms=False)
            if sides is not None:
                for place, side in enumerate(sides):
                    controls[place][name.partition("/")[2]] = tuple(side.samples)
        self._chance.shuffle(names)
        self._case_s = max(LEAST_CASE_S, min(MOST_CASE_S, self._start_s / max(1, len(names))))
        for name in names:
            began = monotonic()
            if deadline is not None and began + self._expected_s(name) > deadline:
                self._total -= 1
                continue
            sides = self._time(name, workers, confirms=name in confirming)
            self._seconds[name] = monotonic() - began
            self._done += 1
            self._listen(Progress(f"timing, launch {self._launches}", name, self._done, self._total))
            if sides is not None:
                self._record(name, sides, controls, confirms=name in confirming)

    def _time(self, name: str, workers: tuple[Worker, Worker], *, confirms: bool) -> tuple[_Side, _Side] | None:
        """One case in one launch; None where it failed or was skipped, which is recorded."""
        try:
            return self._in_turns(name, workers, confirms=confirms)
        except _SkippedError as reason:
            for session in self._sessions:
                session.recorder.skip(name, str(reason))
        except _SideError as error:
            if name in CONTROLS:
                raise ChildError(f"{self._sessions[error.place].site.name}: {name}: {error}") from error
            for session in self._sessions:
                session.fail(name, "timing", f"{self._sessions[error.place].site.name}: {error}")
            self._settle(workers[error.place])  # what failed was ended: the other cases get a process like the first
        return None

    def _in_turns(self, name: str, workers: tuple[Worker, Worker], *, confirms: bool) -> tuple[_Side, _Side]:
        sides = _Side(), _Side()

        def ask(place: int, request: dict[str, Any], kind: type[T]) -> T:
            try:
                return workers[place].ask(request, kind, self._sessions[place].asked.timeout_s)
            except (ChildError, RequestFailedError) as error:
                raise _SideError(place, str(error)) from error

        def block(place: int, request: dict[str, Any]) -> None:
            told = ask(place, request, Block)
            sides[place].samples += told.samples_s
            sides[place].blocks.append(_level(told.samples_s))
            sides[place].shares.append(told.cpu_share)

        places = [0, 1]
        self._chance.shuffle(places)
        for place in places:
            session = self._sessions[place]
            request = {"do": "ready", "case": name, "device": session.recorder.run.device, "seed": self._launches}
            ready = ask(place, {**request, "plant": self._plant if place == 1 else {}}, Ready)
            if ready.skipped is not None:
                raise _SkippedError(f"{session.site.name}: {ready.skipped}")
            assert ready.step_s is not None
            sides[place].step_s, sides[place].examples = ready.step_s, ready.examples
        request, pairs = _plan(max(side.step_s for side in sides), self._case_s)
        a_first: list[bool] = []
        first = 0
        for number in range(pairs):
            first = self._chance.randrange(2) if number % 2 == 0 else 1 - first  # A B B A, or B A A B
            for place in (first, 1 - first):
                block(place, request)
            a_first.append(first == 0)
        for place in places:
            if name not in CONTROLS and self._launches <= MEMORY_LAUNCHES:
                sides[place].memory = ask(place, {"do": "peak"}, Peak).memory
            sides[place].gpu = _without_partner(ask(place, {"do": "done"}, Done).gpu)
        self._add(name, sides, a_first, request, confirms=confirms)
        return sides

    def _add(
        self, name: str, sides: tuple[_Side, _Side], a_first: list[bool], request: dict[str, Any], *, confirms: bool
    ) -> None:
        a, b = sides
        shares = [
            None if one is None or other is None else min(one, other)
            for one, other in zip(a.shares, b.shares, strict=True)
        ]
        pairs = Pairs(
            a_s=tuple(a.blocks),
            b_s=tuple(b.blocks),
            a_first=tuple(a_first),
            cpu_shares=tuple(shares),
            iterations=request["iterations"],
            rounds=request["rounds"],
            confirms=confirms,
            disturbed=next((why for side in sides if side.gpu and (why := side.gpu.disturbed)), None),
        )
        known = {one.id: one for one in self.times.cases}
        old = known.get(name, Compared(id=name))
        known[name] = old.model_copy(update={"launches": (*old.launches, pairs)})
        self.times = self.times.model_copy(update={"cases": tuple(known.values())})

    def _record(
        self,
        name: str,
        sides: tuple[_Side, _Side],
        controls: tuple[Samples, Samples],
        *,
        confirms: bool,
    ) -> None:
        """Put what one launch showed of a case into both runs."""
        (iterations,) = (one.launches[-1].iterations for one in self.times.cases if one.id == name)
        for place, (session, side) in enumerate(zip(self._sessions, sides, strict=True)):
            shares = [share for share in side.shares if share is not None]
            session.recorder.add_timing(
                name,
                Timing(
                    samples_s=tuple(side.samples),
                    iterations=iterations,
                    controls_s=controls[place],
                    cpu_share=median(shares) if shares else None,
                    memory=side.memory,
                    confirms=confirms,
                    examples=side.examples,
                    gpu=side.gpu,
                ),
            )


def _without_partner(seen: GpuWatch | None) -> GpuWatch | None:
    """What a GPU went through, where the process of the other side is no foreign one."""
    if seen is None or not seen.foreign:
        return seen
    return seen.model_copy(update={"foreign": seen.foreign - 1})


def _level(samples: Sequence[float]) -> float:
    """The lower quartile of a block's rounds: what disturbs a round makes it longer."""
    return sorted(samples)[len(samples) // 4]


def _plan(step_s: float, case_s: float) -> tuple[dict[str, Any], int]:
    """What a block is of steps that take so long, and how many pairs of blocks fill `case_s` seconds."""
    iterations = max(1, round(ROUND_S / step_s))
    round_s = iterations * step_s
    rounds = max(1, min(MOST_ROUNDS, int(BLOCK_S / round_s)))
    warm = iterations if round_s < BLOCK_S else 0
    pairs = max(LEAST_PAIRS, round(case_s / (2 * (rounds * iterations + warm) * step_s)))
    return {"do": "block", "rounds": rounds, "iterations": iterations, "warm": warm}, pairs
