"""The time that the harness adds to a step. Not a test: `make overhead` prints it.

An empty step is measured as a case is (pytest-benchmark's pedantic loop, garbage collection off), and so is a bare
Python loop over the same step, alternately, 200 times; the medians are subtracted. Short cases use rounds of 1,000
calls, trainings rounds of one call.
"""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS = 200


def empty() -> None:
    pass


def bare(calls: int) -> float:
    begin = perf_counter()
    for _ in range(calls):
        empty()
    return (perf_counter() - begin) / calls


@pytest.mark.parametrize("calls", [1000, 1])
@pytest.mark.benchmark(disable_gc=True)
def test_overhead(benchmark: BenchmarkFixture, calls: int) -> None:
    beside: list[float] = []

    def around() -> None:
        beside.append(bare(1000))

    if calls == 1:
        benchmark.pedantic(empty, setup=around, rounds=ROUNDS)
    else:
        benchmark.pedantic(empty, rounds=ROUNDS, iterations=calls)
        beside += [bare(1000) for _ in range(ROUNDS)]
    assert benchmark.stats is not None
    harness_ns = 1e9 * median(benchmark.stats.stats.data)
    bare_ns = 1e9 * median(beside)
    print(
        f"\nrounds of {calls} calls: {harness_ns:.0f} ns a call in the harness, {bare_ns:.0f} ns in a bare loop: "
        f"{harness_ns - bare_ns:+.0f} ns a call"
    )
