"""What a comparison could resolve of a workload: computed from its launches, and true of comparisons like it."""

from __future__ import annotations

import random
from dataclasses import replace
from math import exp, log1p
from statistics import stdev

import pytest

from bnsuite.judge.interleaved import decide_values
from bnsuite.judge.noise import needed_launches
from bnsuite.judge.resolution import CHANGES, Resolution, resolutions
from bnsuite.judge.verdict import Verdict
from bnsuite.record.interleaved import InterleavedTimes, PairedCase, PairedLaunch
from bnsuite.record.schema import Observation, Run
from bnsuite.report.resolution import sentence
from conftest import make_run, result

CASE = "workload/mine/step"
CHECK = "behaviour/workload/mine/determinism"
MOST = 18


def times(values: list[float], *, took_s: float | None = 4.0, starts_s: tuple[float, ...] = (6.0,)) -> InterleavedTimes:
    """A comparison whose launches have these values: the logarithm of B's time over A's."""
    launches = tuple(
        PairedLaunch(
            a_rounds_s=((0.01,),),
            b_rounds_s=((0.01 * exp(value),),),
            a_first=(True,),
            layouts=(0,),
            a_shares=(1.0,),
            b_shares=(1.0,),
            iterations=1,
            rounds=1,
            confirms=False,
            took_s=took_s,
        )
        for value in values
    )
    return InterleavedTimes(
        schema=InterleavedTimes.SCHEMA,
        a="a",
        b="b",
        seed=0,
        most_launches=MOST,
        budget_s=None,
        variables={},
        starts_s=starts_s,
        cases=tuple(PairedCase(id=name, launches=launches) for name in (CASE, "op/layer", "control/copy")),
    )


def run(*words: str) -> Run:
    """A run of the workload and of a layer; the check of determinism saw these words."""
    step = result(CASE)
    step = step.model_copy(update={"case": step.case.model_copy(update={"family": "workload"})})
    seen = tuple(Observation(what=f"results {n}", value=word, expected="same") for n, word in enumerate(words))
    check = result(CHECK).model_copy(update={"observations": seen})
    return make_run(step, result("op/layer"), check)


def spread(deviation: float, count: int = 8, mean: float = 0.0) -> list[float]:
    """Values whose standard deviation is exactly this."""
    plain = [(-1.0) ** n * (1 + n // 2) for n in range(count)]
    return [mean + deviation * value / stdev(plain) for value in plain]


def of(values: list[float], **more: float | None) -> Resolution:
    """The resolution of the workload in a comparison of these values."""
    (found,) = resolutions(run("same"), run("same"), times(values, **more))  # type: ignore[arg-type]
    return found


def test_it_is_of_workloads_alone() -> None:
    """Layers and controls have none, and neither has a workload of too few launches."""
    assert [one.case for one in resolutions(run(), run(), times(spread(0.01)))] == [CASE]
    assert resolutions(run(), run(), times([0.0, 0.01])) == []


def test_a_noisier_host_resolves_less() -> None:
    """The smallest change grows with the deviation of launches, and takes launches of the comparison's own length."""
    found = [of(spread(deviation)) for deviation in (0.001, 0.01, 0.03, 0.2)]
    changes = [one.change or 1.0 for one in found]
    assert changes == sorted(changes)
    assert changes[0] < changes[-1]
    for one in found:
        assert one.launches is not None
        assert one.needs_s == pytest.approx(10.0 * one.launches)
        smaller = [change for change in CHANGES if one.change is not None and change < one.change]
        assert all(needed_launches(change, one.deviation, MOST) is None for change in smaller)


def test_a_change_of_b_is_no_noise() -> None:
    """B may be slower by half: the resolution is the same."""
    same, slower = of(spread(0.01)), of(spread(0.01, mean=log1p(0.5)))
    assert slower == replace(same, deviation=pytest.approx(same.deviation))


@pytest.mark.parametrize("deviation", [0.004, 0.01, 0.03])
def test_the_change_it_names_is_found_in_the_launches_it_names(deviation: float) -> None:
    """Of 300 comparisons of launches that deviate so, four of five end as REGRESSED by then."""
    one = of(spread(deviation))
    assert one.change is not None
    assert one.launches is not None
    chance = random.Random(1)
    found = 0
    for _ in range(300):
        screen, confirm = ([chance.gauss(log1p(one.change), deviation) for _ in range(MOST)] for _ in range(2))
        made = range(4, MOST + 1, 2)
        flagged = next((n for n in made if decide_values(screen[:n], [], 1, MOST).flagged), None)
        if flagged is None:
            continue
        found += any(
            decide_values(screen[:flagged], confirm[:n], 1, MOST).verdict is Verdict.REGRESSED
            for n in made
            if flagged + n <= one.launches
        )
    assert found >= 240


@pytest.mark.parametrize(
    ("a", "b", "deterministic"),
    [(("same",), ("same",), True), (("same",), ("different",), False), (("same",), (), None)],
)
def test_it_says_if_the_workload_is_deterministic(a: tuple[str], b: tuple[str], deterministic: bool | None) -> None:
    """By what the check saw on both sides."""
    (found,) = resolutions(run(*a), run(*b), times(spread(0.01)))
    assert found.deterministic is deterministic


def test_the_sentence() -> None:
    """It has the change, the time, what that was computed from, and the determinism."""
    one = Resolution(CASE, 0.0104, MOST, 0.02, 14, 490.0, deterministic=True)
    found = "a change of 2 % takes about 8 min 10 s here (14 launches, which deviate by 1.0 %)"
    assert sentence(one) == f"{CASE}: {found}; deterministic"
    assert sentence(replace(one, deterministic=False)).endswith("; not deterministic")
    bare = of(spread(0.01), took_s=None)
    assert sentence(bare).startswith(
        f"{CASE}: a change of 2 % takes {bare.launches} launches here, which deviate by 1."
    )
    wild = of(spread(0.9))
    assert wild.change is None
    assert sentence(wild).startswith(f"{CASE}: no change is resolved here in {MOST} launches, which deviate by ")
