"""Every relation of the catalogue as a pytest-benchmark item: two steps in turns, one round a block of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnsuite.measure import clock
from bnsuite.measure.items.surroundings import Surroundings
from bnsuite.measure.plugin import MEASURED
from bnsuite.measure.settle import ROUND_S, settle

if TYPE_CHECKING:
    import pytest
    from pytest_benchmark.fixture import BenchmarkFixture

    from bnsuite.cases import RatioCase, Step

#: Blocks of both sides; half of them begin with the one, half with the other.
MIN_ROUNDS, MAX_ROUNDS = 8, 40
RELATION_S = 0.3


def test_relation(
    relation: RatioCase, measured_device: str, benchmark: BenchmarkFixture, request: pytest.FixtureRequest
) -> None:
    pair = relation.build_pair(measured_device)
    steps_s = [settle(step, measured_device) for step in pair]
    iterations = max(1, round(ROUND_S / min(steps_s)))
    rounds = min(MAX_ROUNDS, max(MIN_ROUNDS, int(RELATION_S / (sum(steps_s) * iterations))))
    blocks = _Blocks(pair, measured_device, iterations)
    benchmark.extra_info.update(case=relation.id, version=relation.version, device=measured_device)
    with Surroundings(request.config, measured_device) as seen:
        benchmark.pedantic(blocks, rounds=rounds, iterations=1)
    if benchmark.stats is None:
        return
    request.node.stash[MEASURED] = {
        "samples_s": blocks.samples_s[0],
        "iterations": iterations,
        "controls_s": {"partner": blocks.samples_s[1]},
        "cpu_share": seen.cpu_share,
        "gpu": seen.gpu,
        "memory": {"allocated_peak_bytes": None},
    }


class _Blocks:
    """One round: a block of the one step and a block of the other, and every second time the other way about."""

    def __init__(self, pair: tuple[Step, Step], device: str, iterations: int) -> None:
        self._pair, self._clock, self._iterations = pair, clock.for_device(device), iterations
        self._turn = 0
        self.samples_s: tuple[list[float], list[float]] = ([], [])

    def __call__(self) -> None:
        for side in (0, 1) if self._turn % 2 == 0 else (1, 0):
            self.samples_s[side].extend(clock.time_rounds(self._pair[side], self._clock, 1, self._iterations))
        self._turn += 1
