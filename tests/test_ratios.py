"""Ratios: one step's time over another's against a fixed bound, without any baseline."""

from __future__ import annotations

import random

from bnsuite.judge.gates import judge
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.key import machine_key
from bnsuite.record.reference import Reference, from_run
from bnsuite.record.schema import Memory, Outcome, Status, Timing
from bnsuite.report.reasons import words
from conftest import make_run, result

NAME = "ratio/layouts/x"


def launch(ratio: float, *, confirms: bool = False, cpu_share: float = 1.0) -> Timing:
    drift = random.Random(ratio).uniform(1.0, 3.0)  # what both sides share does not count
    return Timing(
        samples_s=tuple(drift * ratio * one * 1e-3 for one in (1.0, 1.1, 1.2)),
        iterations=1,
        controls_s={"partner": tuple(drift * one * 1e-3 for one in (1.0, 1.1, 1.2))},
        cpu_share=cpu_share,
        memory=Memory(allocated_peak_bytes=None),
        confirms=confirms,
    )


def finding(*launches: Timing, bound: float = 1.5) -> Finding:
    run = make_run(result(NAME, timings=launches, bounds={"cpu": bound, "cuda": 9.0}))
    (one,) = judge(run, Reference(name="baselines/"))
    return one


def test_under_its_bound_it_passes_and_above_it_is_regressed() -> None:
    """Whatever the machine's speed was in each launch; the summary has the ratio and the bound."""
    assert finding(*(launch(ratio) for ratio in (1.2, 1.21, 1.22))).verdict is Verdict.PASS
    one = finding(*(launch(ratio) for ratio in (2.0, 2.1, 2.05)))
    assert one.verdict is Verdict.REGRESSED
    assert words(one).startswith("takes 2.05 times as long, the limit is 1.5 times")


def test_near_its_bound_it_is_undecided() -> None:
    assert finding(*(launch(ratio) for ratio in (1.4, 1.5, 1.58))).verdict is Verdict.INCONCLUSIVE


def test_launches_that_agree_by_chance_are_not_believed_to_the_last_digit() -> None:
    """Three that are equal and 3 % above the bound show nothing: ratios differ by as much from launch to launch."""
    assert finding(*[launch(1.545)] * 3).verdict is Verdict.INCONCLUSIVE
    assert finding(*[launch(1.65)] * 3).verdict is Verdict.REGRESSED


def test_a_regression_holds_when_it_is_repeated() -> None:
    """Fresh launches that do not show it take it back."""
    first = [launch(2.0)] * 3
    assert finding(*first, *[launch(2.0, confirms=True)] * 3).verdict is Verdict.REGRESSED
    assert finding(*first, *[launch(1.0, confirms=True)] * 3).verdict is not Verdict.REGRESSED


def test_what_fails_later_does_not_pass_for_what_came_before() -> None:
    """Launches that passed are no verdict where one has crashed; a regression is."""
    crashed = {"timing": Outcome(status=Status.FAILED, reason="it died")}

    def found(ratio: float) -> Finding:
        launches = tuple(launch(ratio * share) for share in (1.0, 1.01, 1.02))
        run = make_run(result(NAME, timings=launches, bounds={"cpu": 1.5, "cuda": 9.0}, outcomes=crashed))
        return judge(run, Reference(name="baselines/"))[0]

    passed = found(1.2)
    assert (passed.verdict, words(passed)) == (Verdict.FAILED, "after 3 launches: it died")
    assert found(2.0).verdict is Verdict.REGRESSED


def test_beside_a_busy_process_it_is_invalid() -> None:
    assert finding(*[launch(1.0, cpu_share=0.5)] * 3).verdict is Verdict.INVALID


def test_a_ratio_is_no_reference() -> None:
    """It is not accepted into a baseline, and not looked for in another run."""
    run = make_run(result(NAME, timings=(launch(1.0),) * 3, bounds={"cpu": 1.5}))
    assert from_run(run, "other", machine_key(run)).timing == {}
