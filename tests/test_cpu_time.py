"""The gate of CPU time: what a step costs beyond its wall time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import exp

import pytest

from bnsuite.judge import comparison, cpu_time
from bnsuite.judge.cpu_time import GATE, between, judge
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.interleaved import InterleavedTimes, PairedCase, PairedLaunch
from bnsuite.record.key import machine_key
from bnsuite.record.reference import from_run
from bnsuite.record.schema import Run, Timing
from bnsuite.report.reasons import words
from conftest import make_run, result, timing

CASE = "op/x"


def pairs(
    cores: tuple[float, float], wall: float = 0.0, *, share: float = 1.0, confirms: bool = False, known: bool = True
) -> PairedLaunch:
    """A launch of eight pairs in which A and B keep so many cores busy, and B takes exp(`wall`) times as long."""
    return PairedLaunch(
        a_rounds_s=((1e-3,),) * 8,
        b_rounds_s=((1e-3 * exp(wall),),) * 8,
        a_first=(True, False) * 4,
        layouts=(0,) * 8,
        a_shares=(share,) * 8,
        b_shares=(share,) * 8,
        a_cores_busy=(cores[0],) * 8 if known else (),
        b_cores_busy=(cores[1],) * 8 if known else (),
        iterations=1,
        rounds=1,
        confirms=confirms,
    )


def times(*launches: PairedLaunch, case: str = CASE) -> InterleavedTimes:
    return InterleavedTimes(
        schema=InterleavedTimes.SCHEMA,
        a="a",
        b="b",
        seed=0,
        most_launches=10,
        budget_s=None,
        variables={},
        cases=(PairedCase(id=case, launches=launches),),
    )


def busy(median_s: float, cores: float | None, share: float = 1.0) -> Timing:
    return timing(median_s, cpu_share=share).model_copy(update={"cores_busy": cores})


def run_of(*timings: Timing) -> Run:
    return make_run(result(CASE, timings=timings), threads=2)


RUN = run_of(busy(1e-3, 1.5))


def compared(*launches: PairedLaunch) -> Finding | None:
    return next(iter(between(RUN, times(*launches))), None)


def noisy(cores: tuple[float, float], wall: float = 0.0, count: int = 4) -> list[PairedLaunch]:
    """Launches that vary by a few per cent."""
    chance = random.Random(7)
    return [
        pairs((cores[0] * exp(chance.gauss(0, 0.03)), cores[1] * exp(chance.gauss(0, 0.03))), wall + 0.002 * number)
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("cores", "wall", "verdict"),
    [
        ((1.0, 2.0), 0.0, Verdict.REGRESSED),  # twice as many cores for the same time
        ((2.0, 4.0), -0.1, Verdict.REGRESSED),  # and a little less of it
        ((2.0, 1.0), 0.0, Verdict.IMPROVED),
        ((2.0, 2.0), 0.0, Verdict.PASS),
        ((2.0, 2.0), 0.7, Verdict.PASS),  # twice the time at as many cores: the timing gate says so
        ((2.0, 2.0), -0.7, Verdict.PASS),
        ((1.0, 2.0), -0.6, Verdict.PASS),  # shared among two cores, and nearly twice as fast
        ((2.0, 1.0), 0.6, Verdict.PASS),
        ((2.0, 2.3), 0.0, Verdict.PASS),
    ],
)
def test_what_wall_time_explains_is_no_change(cores: tuple[float, float], wall: float, verdict: Verdict) -> None:
    """CPU time is judged by its change beyond that of wall time, in either direction."""
    found = compared(*noisy(cores, wall))
    assert found is not None
    assert found.verdict is verdict


def test_a_doubling_is_told_in_numbers() -> None:
    """The change of CPU time per step, that of wall time, and the cores."""
    found = compared(*[pairs((1.0, 2.0))] * 4)
    assert found is not None
    assert found.change == pytest.approx(1.0)
    assert found.evidence["cpu_s"] == pytest.approx(1.5e-3)
    assert words(found) == (
        "CPU time +100.0 % per step, wall time +0.0 %: 2.00 cores kept busy, 1.00 before, in 4 launches; "
        "25 % more than wall time explains are allowed"
    )


@pytest.mark.parametrize(
    "launches",
    [
        [pairs((1.0, 1.05))] * 8,  # one thread: CPU time is wall time
        [pairs((0.4, 0.9))] * 8,  # a thread that waits less
        [pairs((1.0, 2.0))] * 3,  # too few
        [pairs((1.0, 2.0), known=False)] * 8,  # measured by an earlier bnsuite, or in several ranks
        [pairs((1.0, 2.0), share=0.5)] * 8,  # beside other load
    ],
)
def test_without_two_threads_or_enough_launches_nothing_is_judged(launches: Sequence[PairedLaunch]) -> None:
    """A case of one thread has no finding: the gate would repeat that of its time."""
    assert compared(*launches) is None


def test_launches_that_disagree_decide_nothing() -> None:
    """A change that only some launches show is neither."""
    found = compared(pairs((1.0, 2.0)), pairs((1.0, 1.1)), pairs((1.0, 2.0)), pairs((1.0, 1.2)))
    assert found is not None
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "not shown to be within 25 %" in words(found)


def test_a_gpu_is_not_judged() -> None:
    """Its host spins while it waits, by design; the number is recorded."""
    on_gpu = RUN.model_copy(update={"device": "cuda:0"})
    assert between(on_gpu, times(*[pairs((1.0, 2.0))] * 4)) == []
    assert judge(on_gpu, from_run(RUN, "accepted", machine_key(RUN))) == []


def test_nothing_changed_raises_no_alarm() -> None:
    """In 100 comparisons of 20 cases, launches vary by 10 %, one in ten of them by far more: no alarm."""
    chance = random.Random(11)
    cases = make_run(*(result(f"op/{number}", timings=(busy(1e-3, 1.5),)) for number in range(20)), threads=2)
    alarms = 0
    for _ in range(100):
        paired = []
        for one in cases.cases:
            count = chance.choice([4, 6, 8, 10])
            spread = [0.1 if chance.random() < 0.9 else 0.4 for _ in range(count)]
            launches = [
                pairs((exp(chance.gauss(0.5, some / 1.4)), exp(chance.gauss(0.5, some / 1.4)))) for some in spread
            ]
            paired.append(PairedCase(id=one.id, launches=tuple(launches)))
        all_times = times().model_copy(update={"cases": tuple(paired)})
        found = between(cases, all_times)
        assert len(found) == 20
        alarms += sum(one.verdict in {Verdict.REGRESSED, Verdict.IMPROVED} for one in found)
    assert alarms == 0


def test_a_comparison_has_the_gate() -> None:
    """Beside the gate of time, which finds nothing; the case costs twice as much."""
    paired = times(*[pairs((1.0, 2.0))] * 4)
    found = {one.gate: one.verdict for one in comparison.judge(RUN, RUN, paired, ())}
    assert (found["timing"], found[GATE]) == (Verdict.PASS, Verdict.REGRESSED)


def stored(*timings: Timing) -> Run:
    return run_of(*timings)


def since(now: Sequence[Timing], before: Sequence[Timing]) -> Finding | None:
    run = run_of(*now)
    return next(iter(judge(run, from_run(stored(*before), "accepted", machine_key(run)))), None)


@pytest.mark.parametrize(
    ("cores", "seconds", "verdict"),
    [
        ((2.0, 2.1, 1.9), 1e-3, Verdict.REGRESSED),
        ((2.0, 2.1, 1.25), 1e-3, Verdict.INCONCLUSIVE),  # not in all launches
        ((0.7, 0.7, 0.6), 1e-3, Verdict.IMPROVED),
        ((1.2, 1.4, 1.2), 1e-3, Verdict.PASS),
        ((1.2, 1.4, 1.2), 2e-3, Verdict.PASS),  # a slower machine
        ((2.0, 2.1, 1.9), 0.55e-3, Verdict.PASS),  # shared, and faster in return
    ],
)
def test_against_a_baseline_all_launches_must_show_it(
    cores: tuple[float, ...], seconds: float, verdict: Verdict
) -> None:
    """Stored launches are few, and of another day: the margin is 50 %."""
    found = since([busy(seconds, one) for one in cores], [busy(1e-3, 1.2), busy(1.01e-3, 1.25), busy(1e-3, 1.2)])
    assert found is not None
    assert found.verdict is verdict


def test_a_baseline_that_varies_allows_as_much() -> None:
    """Accepted launches that kept 1.2 to 1.8 cores busy say little of one that keeps 2 busy."""
    steady, varied = [busy(1e-3, 1.2)] * 3, [busy(1e-3, 1.2), busy(1e-3, 1.2), busy(1e-3, 1.8)]
    now = [busy(1e-3, 2.0)] * 3
    assert [getattr(since(now, before), "verdict", None) for before in (steady, varied)] == [
        Verdict.REGRESSED,
        Verdict.PASS,
    ]


def test_a_baseline_without_the_number_judges_nothing() -> None:
    """It was accepted by an earlier bnsuite; nor do disturbed launches."""
    assert since([busy(1e-3, 2.0)] * 3, [busy(1e-3, None)] * 3) is None
    assert since([busy(1e-3, 2.0, share=0.5)] * 3, [busy(1e-3, 1.0)] * 3) is None


def test_the_number_is_kept_in_a_baseline() -> None:
    """Beside the time of each launch, and nowhere where it is not known."""
    reference = from_run(run_of(busy(1e-3, 1.25), busy(1e-3, None)), "accepted", machine_key(RUN)).timing[CASE]
    known, unknown = (one.model_dump() for one in reference.runs[0])
    assert known["cores_busy"] == 1.25
    assert "cores_busy" not in unknown


def test_the_margin_is_less_than_what_people_report() -> None:
    """A doubling is found with room to spare, also against a baseline."""
    assert cpu_time.MARGIN < cpu_time.STORED_MARGIN < 1.0
