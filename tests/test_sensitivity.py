"""The smallest slowdown that a comparison could have found agrees with the decisions that it makes."""

from __future__ import annotations

import random
from math import log1p, sqrt
from statistics import fmean, stdev

import pytest

from bnsuite.judge.interleaved import FLOOR, MIN_DEVIATION, decide_values
from bnsuite.judge.sensitivity import by_case, smallest_slowdown
from bnsuite.judge.verdict import Verdict
from bnsuite.record.interleaved import InterleavedTimes, PairedCase, PairedLaunch
from conftest import make_run, result

CASES, MOST = 20, 18


def spread(count: int, deviation: float) -> list[float]:
    """Values about zero with exactly this deviation."""
    values = [float(number) for number in range(count)]
    scale = deviation / stdev(values)
    return [(value - fmean(values)) * scale for value in values]


def found(slowdown: float, count: int, deviation: float, trials: int = 300) -> float:
    """The share of comparisons that call a true slowdown a regression, after `count` screening launches."""
    drawn = random.Random(count)

    def launches(number: int) -> list[float]:
        return [drawn.gauss(log1p(slowdown), deviation) for _ in range(number)]

    verdicts = [decide_values(launches(count), launches(MOST), CASES, MOST).verdict for _ in range(trials)]
    return verdicts.count(Verdict.REGRESSED) / trials


@pytest.mark.parametrize("count", [6, 10, 18])
@pytest.mark.parametrize("deviation", [0.005, 0.012])
def test_a_slowdown_of_that_size_is_found(count: int, deviation: float) -> None:
    """In about nine of ten comparisons; one of a third of that size, or at the floor, in far fewer."""
    smallest = smallest_slowdown(spread(count, deviation), CASES, MOST)
    assert smallest is not None
    assert found(smallest, count, deviation) >= 0.8
    assert found(min(smallest / 3, FLOOR / 2), count, deviation) < 0.3


def test_more_launches_and_less_spread_find_less() -> None:
    """And nothing below the floor is ever found."""
    by_count = [smallest_slowdown(spread(count, 0.015), CASES, MOST) or 0.0 for count in (4, 6, 10, 18)]
    assert by_count == sorted(by_count, reverse=True)
    by_spread = [smallest_slowdown(spread(8, deviation), CASES, MOST) or 0.0 for deviation in (0.01, 0.02, 0.04)]
    assert by_spread == sorted(by_spread)
    assert (smallest_slowdown(spread(8, 0.0), CASES, MOST) or 0.0) > FLOOR + MIN_DEVIATION / sqrt(8)


def test_too_few_launches_find_nothing() -> None:
    """Before the first look at a case nothing is decided."""
    assert smallest_slowdown([0.0, 0.01, 0.02], CASES, MOST) is None


def test_each_timed_case_has_its_own() -> None:
    """A control and a case without launches have none."""
    launches = tuple(
        PairedLaunch(
            a_rounds_s=((1e-3,),) * 4,
            b_rounds_s=((1e-3 * (1 + extra),),) * 4,
            a_first=(True,) * 4,
            layouts=(0,) * 4,
            a_shares=(1.0,) * 4,
            b_shares=(1.0,) * 4,
            iterations=1,
            rounds=1,
            confirms=False,
        )
        for extra in (0.0, 0.01, 0.0, 0.01)
    )
    times = InterleavedTimes(
        schema=2,
        a=".",
        b=".",
        seed=0,
        most_launches=MOST,
        budget_s=None,
        variables={},
        cases=(PairedCase(id="control/copy", launches=launches), PairedCase(id="op/a", launches=launches)),
    )
    assert list(by_case(make_run(result("op/a"), result("op/b")), times)) == ["op/a"]
