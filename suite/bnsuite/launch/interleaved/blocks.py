"""One case in one launch, timed by turns: both sides hold it ready, and one of them at a time times a block."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from time import monotonic
from typing import Any, TypeVar

from bnsuite.launch.process.child import ChildError
from bnsuite.launch.process.messages import BlockAnswer, DoneAnswer, MemoryAnswer, MoveAnswer, ReadyAnswer
from bnsuite.launch.process.worker import RequestFailedError, Worker
from bnsuite.record.gpu import GpuWatch
from bnsuite.record.interleaved import PairedLaunch
from bnsuite.record.schema import Memory, Timing

T = TypeVar("T")

#: A round is long enough for the clock. Blocks are short: other load on the machine comes and goes within tens of
#: milliseconds, and the two sides of a pair should meet the same of it (see docs/results/interleaving.md).
ROUND_S, BLOCK_S = 0.3e-3, 3e-3
MAX_ROUNDS = 10
#: How often in a launch both sides build the case again, elsewhere in memory by up to so much: the place of tensors,
#: and the pages behind them, make some layers several per cent slower or faster by chance.
LAYOUTS, MAX_SHIFT_BYTES = 16, 64 << 20
#: Fewer layouts where building takes long (a compiled layer's does): no more than this many times the time spent on
#: timing, as long as there are at least so many layouts.
MAX_MOVING, MIN_LAYOUTS = 2.0, 2

_NO_MEMORY = Memory(allocated_peak_bytes=None)


@dataclass(frozen=True)
class BlockRules:
    """How long rounds and blocks are on a device, and how often a launch builds a case elsewhere in memory."""

    round_s: float = ROUND_S
    block_s: float = BLOCK_S
    layouts: int = LAYOUTS
    #: The most steps of a round; None for any number.
    max_iterations: int | None = None
    #: Seconds that a step takes besides its own: those of a host that launches it while the device waits.
    launching_s: float = 0.0


CPU_RULES = BlockRules()


def rules_of(ready: ReadyAnswer) -> BlockRules:
    """Returns the rules of the device that sent `ready`; those of a CPU where it sent none."""
    if ready.round_s is None or ready.step_s is None:
        return CPU_RULES
    return BlockRules(
        round_s=ready.round_s,
        block_s=ready.block_s or BLOCK_S,
        layouts=ready.layouts or LAYOUTS,
        max_iterations=ready.max_iterations,
        launching_s=max(0.0, (ready.wall_s or 0.0) - ready.step_s),
    )


def stricter(one: BlockRules, other: BlockRules) -> BlockRules:
    """Returns rules that both sides can keep."""
    limits = [limit for limit in (one.max_iterations, other.max_iterations) if limit is not None]
    return BlockRules(
        round_s=max(one.round_s, other.round_s),
        block_s=max(one.block_s, other.block_s),
        layouts=min(one.layouts, other.layouts),
        max_iterations=min(limits, default=None),
        launching_s=max(one.launching_s, other.launching_s),
    )


class SideError(Exception):
    """One side did not do what it was asked: `place` is 0 for A, 1 for B."""

    def __init__(self, place: int, reason: str) -> None:
        super().__init__(reason)
        self.place = place


class SkippedError(SideError):
    """There is nothing of the case to be timed on one side."""


class OutOfTimeError(Exception):
    """The deadline came before all blocks of the case were timed."""


@dataclass
class SideSamples:
    """The measurements of one case on one side in one launch."""

    step_s: float = 0.0
    cold: bool = False
    rules: BlockRules = CPU_RULES
    examples: int | None = None
    #: Seconds a step, the rounds of each block.
    blocks: list[tuple[float, ...]] = field(default_factory=list)
    shares: list[float | None] = field(default_factory=list)
    #: The host's seconds to launch a step, by block and round, and if the blocks are without them; none on a CPU.
    host_blocks: list[tuple[float, ...]] = field(default_factory=list)
    held: bool | None = None
    #: CPU time of all threads over wall time, per block; empty for several ranks.
    cores_busy: list[float] = field(default_factory=list)
    memory: Memory = _NO_MEMORY
    gpu: GpuWatch | None = None

    @property
    def rounds_s(self) -> tuple[float, ...]:
        """Seconds a step, one value per round of all blocks."""
        return tuple(sample for block in self.blocks for sample in block)

    def timing(self, iterations: int, controls_s: dict[str, tuple[float, ...]], *, confirms: bool) -> Timing:
        """Returns the same as it stands in a run, one sample per round.

        The GPU's memory in use is left out: it is that of both sides.
        """
        shares = [share for share in self.shares if share is not None]
        return Timing(
            samples_s=self.rounds_s,
            iterations=iterations,
            controls_s=controls_s,
            cpu_share=median(shares) if shares else None,
            memory=self.memory.model_copy(update={"gpu_used_bytes": None}),
            confirms=confirms,
            examples=self.examples,
            gpu=self.gpu,
            host_s=tuple(sample for block in self.host_blocks for sample in block) or None,
            held=self.held,
            cores_busy=median(self.cores_busy) if self.cores_busy else None,
        )


@dataclass(frozen=True)
class BlockPlan:
    """The division of a case's time: rounds of `iterations` steps per block, after `warm` steps that don't count."""

    rounds: int
    iterations: int
    warm: int
    #: The pairs of blocks of each layout.
    pairs: tuple[int, ...]


def plan_blocks(step_s: float, case_s: float, move_s: float, *, cold: bool, rules: BlockRules = CPU_RULES) -> BlockPlan:
    """Returns the plan that fills about `case_s` seconds with steps that take `step_s`.

    A new layout costs `move_s` on top. The caches are emptied before each round of a `cold` case: its rounds are of one
    step, and there is no warm one.
    """
    iterations = 1 if cold else max(1, round(rules.round_s / step_s))
    iterations = min(iterations, rules.max_iterations or iterations)
    round_s = iterations * step_s
    rounds = max(1, min(MAX_ROUNDS, int(rules.block_s / round_s)))
    warm = iterations if round_s < rules.block_s and not cold else 0
    wall_s = step_s + rules.launching_s
    quads = max(1, round(case_s / (4 * (rounds * iterations + warm) * wall_s)))  # A B B A, or B A A B
    layouts = min(rules.layouts, quads, max(MIN_LAYOUTS, int(MAX_MOVING * case_s / move_s)))
    pairs = tuple(2 * (quads // layouts + (number < quads % layouts)) for number in range(layouts))
    return BlockPlan(rounds, iterations, warm, pairs)


class InterleavedCase:
    """One case that is timed on the workers of both sides; `devices`, `timeouts_s` and `faults` are A's and B's."""

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
        #: For each pair: whether A came first, and its layout.
        self._order: list[tuple[bool, int]] = []

    def measure(self, case_s: float, *, memory: bool, deadline: float | None = None) -> BlockPlan:
        """Times the case for about `case_s` seconds, then its memory if that is wanted; returns the plan it followed.

        Raises SideError for a side that fails, SkippedError where there is nothing to be timed, and OutOfTimeError
        where `deadline` (monotonic) comes before the last block: steps may take longer than a side says.
        """
        for place in self._places:
            self._make_ready(place)
        cold = any(side.cold for side in self.sides)
        move_s = self._move()
        rules = stricter(*(side.rules for side in self.sides))
        plan = plan_blocks(max(side.step_s for side in self.sides), case_s, move_s, cold=cold, rules=rules)
        for layout, pairs in enumerate(plan.pairs):
            if layout:
                self._move()
            self._time(plan, pairs, layout, deadline)
        for place in self._places:
            if memory:
                self.sides[place].memory = self._ask(place, {"do": "measure_memory"}, MemoryAnswer).memory
            self.sides[place].gpu = self._ask(place, {"do": "release"}, DoneAnswer).gpu
        a, b = self.sides
        a.gpu, b.gpu = _without_partner(a.gpu, b.gpu), _without_partner(b.gpu, a.gpu)
        return plan

    def launch(self, plan: BlockPlan, *, confirms: bool) -> PairedLaunch:
        """Returns the measurements, pair by pair."""
        a, b = self.sides
        return PairedLaunch(
            a_rounds_s=tuple(a.blocks),
            b_rounds_s=tuple(b.blocks),
            a_first=tuple(a_first for a_first, _ in self._order),
            layouts=tuple(layout for _, layout in self._order),
            a_shares=tuple(a.shares),
            b_shares=tuple(b.shares),
            iterations=plan.iterations,
            rounds=plan.rounds,
            confirms=confirms,
            disturbed=next((why for side in self.sides if side.gpu and (why := side.gpu.disturbed)), None),
            sm_clocks_mhz=_clocks(a.gpu, b.gpu),
            blind=tuple(sorted({spot for side in self.sides if side.gpu for spot in side.gpu.blind})),
            a_host_rounds_s=tuple(a.host_blocks),
            b_host_rounds_s=tuple(b.host_blocks),
            a_cores_busy=tuple(a.cores_busy),
            b_cores_busy=tuple(b.cores_busy),
        )

    def _make_ready(self, place: int) -> None:
        request = {"do": "build", "case": self._name, "device": self._devices[place], "seed": self._seed}
        ready = self._ask(place, {**request, "fault": self._faults[place]}, ReadyAnswer)
        if ready.step_s is None:
            raise SkippedError(place, ready.skipped or "no reason given")
        side = self.sides[place]
        side.step_s, side.cold, side.examples = ready.step_s, ready.cold, ready.examples
        side.rules = rules_of(ready)

    def _move(self) -> float:
        """Has both sides build the case elsewhere; returns the seconds that this took."""
        began = monotonic()
        for place in self._places:
            shift = 64 * self._chance.randrange(1, MAX_SHIFT_BYTES // 64)
            self._ask(place, {"do": "rebuild", "shift": shift}, MoveAnswer)
        return monotonic() - began

    def _time(self, plan: BlockPlan, pairs: int, layout: int, deadline: float | None) -> None:
        request = {"do": "time_block", "rounds": plan.rounds, "iterations": plan.iterations, "warm": plan.warm}
        first = 0
        for number in range(pairs):
            if deadline is not None and monotonic() > deadline:
                raise OutOfTimeError(f"{self._name}: {len(self._order)} of {sum(plan.pairs)} pairs were timed")
            first = self._chance.randrange(2) if number % 2 == 0 else 1 - first  # A B B A, or B A A B
            for place in (first, 1 - first):
                block = self._ask(place, request, BlockAnswer)
                if len(block.samples_s) != plan.rounds:
                    raise SideError(
                        place, f"sent {len(block.samples_s)} rounds of a block, was asked for {plan.rounds}"
                    )
                side = self.sides[place]
                side.blocks.append(block.samples_s)
                side.shares.append(block.cpu_share)
                if block.cores_busy is not None:
                    side.cores_busy.append(block.cores_busy)
                if block.host_s is not None:
                    side.host_blocks.append(block.host_s)
                    side.held = bool(block.held) and side.held is not False
            self._order.append((first == 0, layout))

    def _ask(self, place: int, request: dict[str, Any], kind: type[T]) -> T:
        try:
            return self._workers[place].ask(request, kind, self._timeouts_s[place])
        except (ChildError, RequestFailedError) as error:
            raise SideError(place, str(error)) from error


def _without_partner(watch: GpuWatch | None, partner: GpuWatch | None) -> GpuWatch | None:
    """Returns what a GPU went through, without the process of the other side among the foreign ones.

    That one is known by its id where it found itself in the driver's list. What kept the GPU busy before may have been
    the other side as well, and is left out.
    """
    if watch is None:
        return None
    update: dict[str, Any] = {"busy_before_percent": None, "used_before_bytes": None}
    if watch.foreign:
        update["foreign"] = watch.foreign - 1
    its = partner.own_id if partner is not None else None
    if its is not None and its in watch.foreign_ids:
        rest = tuple(one for one in watch.foreign_ids if one != its)
        update |= {"foreign_ids": rest, "foreign_active": len(rest)}
    elif watch.foreign_active and (its is None or not watch.foreign_ids):
        update["foreign_active"] = watch.foreign_active - 1  # one of those that worked is the other side, whichever
    return watch.model_copy(update=update)


def _clocks(a: GpuWatch | None, b: GpuWatch | None) -> tuple[float, float] | None:
    """Returns the median SM clocks of both sides under load, if both are known."""
    found = [None if one is None else one.sm_clock_mhz_median for one in (a, b)]
    return None if None in found else (found[0], found[1])  # type: ignore[return-value]  # neither is None
