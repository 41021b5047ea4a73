"""The noise floor: the launches that a change needs, checked by simulated comparisons."""

from __future__ import annotations

import random
from math import log1p

import pytest

from bnsuite.judge.interleaved import decide_values
from bnsuite.judge.noise import CHANGES, MIN_LAUNCHES, needed_launches, noise_floor
from bnsuite.judge.verdict import Verdict

MOST = 30


def confirmed(values: list[float]) -> bool:
    """Whether launches with these values confirm a slowdown: first they flag it, the rest are made to confirm it."""
    for screened in range(4, len(values) - 3, 2):
        decision = decide_values(values[:screened], [], 1, MOST)
        if decision.flagged:
            rest = range(4, len(values) - screened + 1, 2)
            screen, fresh = values[:screened], values[screened:]
            return any(decide_values(screen, fresh[:n], 1, MOST).verdict is Verdict.REGRESSED for n in rest)
        if decision.verdict is not None:
            return False
    return False


def detected(change: float, deviation: float, launches: int, trials: int = 300) -> float:
    """The share of simulated comparisons that confirm a change within so many launches."""
    chance = random.Random(1)
    return (
        sum(confirmed([chance.gauss(log1p(change), deviation) for _ in range(launches)]) for _ in range(trials))
        / trials
    )


@pytest.mark.parametrize(("change", "deviation"), [(0.03, 0.01), (0.03, 0.02), (0.05, 0.01), (0.05, 0.03)])
def test_the_launches_that_are_named_show_the_change(change: float, deviation: float) -> None:
    """Most comparisons confirm it within them."""
    launches = needed_launches(change, deviation, MOST)
    assert launches is not None
    assert detected(change, deviation, launches) > 0.75


def test_a_change_as_small_as_the_floor_is_never_shown() -> None:
    """A comparison calls nothing below 1 % a change, however quiet the host is."""
    assert needed_launches(0.01, 0.003, MOST) is None
    assert needed_launches(0.03, 0.2, MOST) is None


def test_more_noise_takes_more_launches() -> None:
    """And a larger change takes fewer."""
    by_noise = [needed_launches(0.03, deviation, 1000) or 0 for deviation in (0.003, 0.01, 0.02, 0.04)]
    assert by_noise == sorted(by_noise)
    assert by_noise[0] < by_noise[-1]
    by_change = [needed_launches(change, 0.02, 1000) or 0 for change in (0.02, 0.03, 0.05, 0.1)]
    assert by_change == sorted(by_change, reverse=True)


def test_the_floor_of_a_few_launches() -> None:
    """The deviation is drawn towards the usual one; the seconds are those of the launches that are needed."""
    floor = noise_floor("op/a", "cpu", [0.001, -0.002, 0.003, -0.001], 7.0, MOST)
    assert floor is not None
    assert 0.003 <= floor.deviation <= 0.01
    assert [one.change for one in floor.changes] == list(CHANGES)
    for one in floor.changes:
        assert one.needs_s == (None if one.launches is None else one.launches * 7.0)


def test_two_launches_tell_nothing() -> None:
    """Nor does one, or none."""
    for count in range(MIN_LAUNCHES):
        assert noise_floor("op/a", "cpu", [0.0] * count, 7.0, MOST) is None
    assert noise_floor("op/a", "cpu", [0.0] * MIN_LAUNCHES, 7.0, MOST) is not None
