"""One case in one launch, timed in turns: both sides hold it ready, and one of them at a time times a block."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from time import monotonic
from typing import Any, TypeVar

from bnsuite.launch.process.child import ChildError
from bnsuite.launch.process.messages import BlockAnswer, Done, MemoryAnswer, MoveAnswer, ReadyAnswer
from bnsuite.launch.process.worker import RequestFailedError, Worker
from bnsuite.record.interleaved import PairedLaunch
from bnsuite.record.schema import GpuWatch, Memory, Timing

T = TypeVar("T")

#: A round is long enough for the clock. Blocks are short: what else runs on the machine comes and goes within tens of
#: milliseconds, and the two sides of a pair should meet the same of it (see docs/results/lockstep.md).
ROUND_S, BLOCK_S = 0.3e-3, 3e-3
MAX_ROUNDS = 10
#: So often in a launch both sides build the case anew, elsewhere in memory by up to so much: where tensors lie, and in
#: which pages, makes some layers several per cent slower or faster, and is nobody's merit.
LAYOUTS, MAX_SHIFT_BYTES = 16, 64 << 20
#: Fewer where building takes long (a compiled layer's does): no more than this many times what is spent on timing, as
#: long as there are so many layouts.
MAX_MOVING, MIN_LAYOUTS = 2.0, 2

_NO_MEMORY = Memory(allocated_peak_bytes=None)


class SideError(Exception):
    """One side did not do what it was asked: `place` is 0 for A, 1 for B."""

    def __init__(self, place: int, reason: str) -> None:
        super().__init__(reason)
        self.place = place


class SkippedError(SideError):
    """There is nothing of the case to be timed on one side."""


@dataclass
class SideSamples:
    """What one case showed on one side in one launch."""

    step_s: float = 0.0
    cold: bool = False
    examples: int | None = None
    #: Seconds a step, the median round of each block.
    blocks: list[float] = field(default_factory=list)
    shares: list[float | None] = field(default_factory=list)
    memory: Memory = _NO_MEMORY
    gpu: GpuWatch | None = None

    def timing(self, iterations: int, controls_s: dict[str, tuple[float, ...]], *, confirms: bool) -> Timing:
        """The same as it stands in a run, a sample a block; the GPU's use is that of both sides, and no one's."""
        shares = [share for share in self.shares if share is not None]
        return Timing(
            samples_s=tuple(self.blocks),
            iterations=iterations,
            controls_s=controls_s,
            cpu_share=median(shares) if shares else None,
            memory=self.memory.model_copy(update={"gpu_used_bytes": None}),
            confirms=confirms,
            examples=self.examples,
            gpu=self.gpu,
        )


class InterleavedCase:
    """Times `name` on both workers; `devices` and `plants` are A's and B's."""

    def __init__(
        self,
        name: str,
        workers: Sequence[Worker],
        chance: random.Random,
        *,
        devices: Sequence[str],
        timeouts_s: Sequence[float],
        seed: int,
        faults: Sequence[dict[str, float]],
    ) -> None:
        self._name, self._workers, self._chance = name, workers, chance
        self._devices, self._timeouts_s, self._seed, self._faults = devices, timeouts_s, seed, faults
        self.sides = SideSamples(), SideSamples()
        self._places = [0, 1]
        chance.shuffle(self._places)
        #: Of each pair: whether A came first, and its layout.
        self._order: list[tuple[bool, int]] = []
        self._block: dict[str, Any] = {}

    @property
    def iterations(self) -> int:
        """Steps a round."""
        return int(self._block["iterations"])

    def take(self, case_s: float, *, memory: bool) -> None:
        """Time for about `case_s` seconds, then look at memory if that is wanted.

        Raises SideError for what a side can't do; SkippedError where there is nothing to be timed.
        """
        for place in self._places:
            self._get_ready(place)
        cold = any(side.cold for side in self.sides)
        move_s = self._move()
        self._block, layouts = plan(max(side.step_s for side in self.sides), case_s, move_s, cold=cold)
        for layout, pairs in enumerate(layouts):
            if layout:
                self._move()
            self._time(pairs, layout)
        for place in self._places:
            if memory:
                self.sides[place].memory = self._ask(place, {"do": "measure_memory"}, MemoryAnswer).memory
            self.sides[place].gpu = _without_partner(self._ask(place, {"do": "release"}, Done).gpu)

    def pairs(self, *, confirms: bool) -> PairedLaunch:
        """What was taken, pair by pair."""
        a, b = self.sides
        return PairedLaunch(
            a_s=tuple(a.blocks),
            b_s=tuple(b.blocks),
            a_first=tuple(a_first for a_first, _ in self._order),
            layouts=tuple(layout for _, layout in self._order),
            a_shares=tuple(a.shares),
            b_shares=tuple(b.shares),
            iterations=self.iterations,
            rounds=self._block["rounds"],
            confirms=confirms,
            disturbed=next((why for side in self.sides if side.gpu and (why := side.gpu.disturbed)), None),
        )

    def _get_ready(self, place: int) -> None:
        request = {"do": "build", "case": self._name, "device": self._devices[place], "seed": self._seed}
        ready = self._ask(place, {**request, "fault": self._faults[place]}, ReadyAnswer)
        if ready.step_s is None:
            raise SkippedError(place, ready.skipped or "no reason given")
        side = self.sides[place]
        side.step_s, side.cold, side.examples = ready.step_s, ready.cold, ready.examples

    def _move(self) -> float:
        """Have both sides build the case elsewhere; returns the seconds that this took."""
        began = monotonic()
        for place in self._places:
            shift = 64 * self._chance.randrange(1, MAX_SHIFT_BYTES // 64)
            self._ask(place, {"do": "rebuild", "shift": shift}, MoveAnswer)
        return monotonic() - began

    def _time(self, pairs: int, layout: int) -> None:
        first = 0
        for number in range(pairs):
            first = self._chance.randrange(2) if number % 2 == 0 else 1 - first  # A B B A, or B A A B
            for place in (first, 1 - first):
                told = self._ask(place, self._block, BlockAnswer)
                if len(told.samples_s) != (rounds := self._block["rounds"]):
                    raise SideError(place, f"sent {len(told.samples_s)} rounds of a block, was asked for {rounds}")
                side = self.sides[place]
                side.blocks.append(median(told.samples_s))
                side.shares.append(told.cpu_share)
            self._order.append((first == 0, layout))

    def _ask(self, place: int, request: dict[str, Any], kind: type[T]) -> T:
        try:
            return self._workers[place].ask(request, kind, self._timeouts_s[place])
        except (ChildError, RequestFailedError) as error:
            raise SideError(place, str(error)) from error


def plan(step_s: float, case_s: float, move_s: float, *, cold: bool) -> tuple[dict[str, Any], list[int]]:
    """A block of steps that take `step_s`, as it is asked for, and the pairs of each layout, which fill `case_s`.

    A new layout costs `move_s` on top. The caches are emptied before each round of a `cold` case: its rounds are of one
    step, and there is no warm one.
    """
    iterations = 1 if cold else max(1, round(ROUND_S / step_s))
    round_s = iterations * step_s
    rounds = max(1, min(MAX_ROUNDS, int(BLOCK_S / round_s)))
    warm = iterations if round_s < BLOCK_S and not cold else 0
    quads = max(1, round(case_s / (4 * (rounds * iterations + warm) * step_s)))  # A B B A, or B A A B
    layouts = min(LAYOUTS, quads, max(MIN_LAYOUTS, int(MAX_MOVING * case_s / move_s)))
    pairs = [2 * (quads // layouts + (number < quads % layouts)) for number in range(layouts)]
    return {"do": "time_block", "rounds": rounds, "iterations": iterations, "warm": warm}, pairs


def _without_partner(seen: GpuWatch | None) -> GpuWatch | None:
    """What a GPU went through, where the process of the other side is no foreign one."""
    if seen is None or not seen.foreign:
        return seen
    return seen.model_copy(update={"foreign": seen.foreign - 1})
