"""The gates of checks: limits, words, drift, baselines and pins."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from bnsuite.cases.checks.case import Observation as CheckObservation
from bnsuite.judge.checks import judge_behaviour, judge_numerics
from bnsuite.judge.gates import judge
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.lines import CHECKS, CheckLine
from bnsuite.record.pins import Pin
from bnsuite.record.reference import Reference
from bnsuite.record.schema import Observation, Outcome, Run, Status
from bnsuite.report.reasons import words
from conftest import make_run, result

NAME = "numerics/reference/x"


def seen(*observations: Observation) -> Run:
    return make_run(result(NAME, observations=observations))


def accepted(**observed: float | str) -> Reference:
    line = CheckLine(
        schema=2, id=NAME, version=1, profiles=("quick", "full"), torch="2.14.1", gate="numerics", observed=observed
    )
    return Reference(name="baselines/", lines={"checks": {NAME: line}})


def finding(run: Run, reference: Reference | None = None) -> Finding:
    (one,) = judge_numerics(run, reference or Reference(name="baselines/"))
    return one


def number(value: float, limit: float | None = 30.0) -> Observation:
    return Observation(what="dx", value=value, limit=limit)


def test_a_limit_needs_no_baseline() -> None:
    """Up to its limit a number is right, above it REGRESSED, and the summary says by how much."""
    assert finding(seen(number(30.0))).verdict is Verdict.PASS
    one = finding(seen(number(31.0)))
    assert one.verdict is Verdict.REGRESSED
    assert words(one).startswith("dx is 31, the limit is 30")
    assert "dx is not finite" in words(finding(seen(number(1e30))))


@pytest.mark.parametrize(("value", "verdict"), [(9.0, Verdict.PASS), (11.0, Verdict.REGRESSED), (2.9, Verdict.PASS)])
def test_drift_is_told_before_it_is_damage(value: float, verdict: Verdict) -> None:
    """Under the limit a number is wrong only if it is 3 times what was accepted and over a third of the limit."""
    assert finding(seen(number(value)), accepted(dx=1.0)).verdict is verdict


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_what_is_not_finite_is_wrong(value: float) -> None:
    """A layer that gives NaN is REGRESSED, and not a check that crashed."""
    one = CheckObservation("dx", value, limit=30.0)
    told = finding(seen(Observation(what=one.what, value=one.value, limit=one.limit)))
    assert told.verdict is Verdict.REGRESSED
    assert "dx is not finite, the limit is 30" in words(told)


def test_a_word_is_the_expected_one() -> None:
    right = Observation(what="counter", value="1", expected="1")
    wrong = Observation(what="counter", value="2", expected="1")
    assert finding(seen(right)).verdict is Verdict.PASS
    assert "counter is 2, and must be 1" in words(finding(seen(wrong)))


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        ("raises", Verdict.PASS),
        ("returns", Verdict.REGRESSED),
        (1.04, Verdict.PASS),
        (1.06, Verdict.REGRESSED),
        (0.9, Verdict.IMPROVED),
    ],
)
def test_what_has_no_right_is_held_against_the_baseline(value: float | str, verdict: Verdict) -> None:
    """A word to the letter, a number within 5 %; without a baseline there is no verdict."""
    run = seen(Observation(what="outcome", value=value))
    assert finding(run, accepted(outcome="raises" if isinstance(value, str) else 1.0)).verdict is verdict
    assert finding(run).verdict is Verdict.NO_BASELINE


@pytest.mark.parametrize(
    ("device", "torch", "value", "covered"),
    [
        ("cpu", "2.14", 50.0, True),
        ("any", "", 50.0, True),
        ("cpu", "2.14.1", 50.0, True),
        ("cpu", "2.1", 50.0, False),
        ("cuda", "2.14", 50.0, False),
        ("cpu", "2.14", 39.0, False),
    ],
)
def test_a_pin_covers_one_deviation_of_some_versions(device: str, torch: str, value: float, covered: bool) -> None:
    """It passes with its reason counted; another device or version, or a larger deviation, is REGRESSED."""
    pin = Pin.model_validate(
        {
            "case": "numerics/*/x",
            "what": "d?",
            "device": device,
            "torch": torch,
            "value": value,
            "reason": "a known limitation",
        }
    )
    reference = Reference(name="baselines/", pins=(pin,))
    one = finding(seen(number(40.0)), reference)
    assert one.verdict is (Verdict.PASS if covered else Verdict.REGRESSED)
    assert one.evidence["pinned"] == int(covered)


def test_a_finding_says_which_rule_is_broken_and_who_met_it() -> None:
    run = seen(number(31.0))
    case = run.cases[0].case.model_copy(
        update={"rule": "gradients are right", "threads": ("pytorch/pytorch#57796", "a/b#1", "c/d#2")}
    )
    run = run.model_copy(update={"cases": (run.cases[0].model_copy(update={"case": case}),)})
    assert "the rule: gradients are right (as in pytorch/pytorch#57796, a/b#1 and others)" in words(finding(run))


def test_what_was_not_looked_at_is_failed_or_skipped() -> None:
    """A check that crashed is FAILED with the reason; one with nothing to look at is SKIPPED with the reason."""
    for status, verdict in ((Status.FAILED, Verdict.FAILED), (Status.SKIPPED, Verdict.SKIPPED)):
        outcomes = {"behaviour": Outcome(status=status, reason="why")}
        (one,) = judge_behaviour(make_run(result("behaviour/x/y", outcomes=outcomes)), Reference(name="baselines/"))
        assert (one.verdict, words(one)) == (verdict, "why")


def test_a_check_that_vanished_is_missing() -> None:
    run = make_run(result("numerics/reference/y", observations=(number(1.0),)))
    assert [one.verdict for one in judge(run, accepted(dx=1.0)) if one.case == NAME] == [Verdict.MISSING]


def test_an_observation_that_vanished_is_missing() -> None:
    """What was accepted and is gone is told, be there something new or not; what is wrong is told first."""
    one = finding(seen(number(1.0)), accepted(dx=1.0, dweight=1.0))
    assert one.verdict is Verdict.MISSING
    assert words(one).startswith("in baselines/, but not observed: dweight; ")
    renamed = seen(number(1.0), Observation(what="dw", value="new"))
    assert finding(renamed, accepted(dx=1.0, dweight=1.0)).verdict is Verdict.MISSING
    assert finding(seen(number(31.0)), accepted(dx=1.0, dweight=1.0)).verdict is Verdict.REGRESSED


def test_an_observation_may_go_for_a_reason() -> None:
    """A pin lets it go, an implementation may have fewer parts, and a new version of the case starts anew."""
    run, reference = seen(number(1.0)), accepted(dx=1.0, dweight=1.0)
    pin = Pin(case=NAME, what="dweight", device="any", torch="", value="not seen", reason="it has no weight there")
    one = finding(run, replace(reference, pins=(pin,)))
    assert (one.verdict, one.evidence["pinned"]) == (Verdict.PASS, 1)
    asked = run.options.model_copy(update={"implementation": "mine.py:Layer"})
    assert finding(run.model_copy(update={"options": asked}), reference).verdict is Verdict.PASS
    newer = run.cases[0].case.model_copy(update={"version": 2})
    run = run.model_copy(update={"cases": (run.cases[0].model_copy(update={"case": newer}),)})
    assert finding(run, reference).verdict is Verdict.PASS


def test_a_run_is_a_reference_for_another() -> None:
    """What it saw is what the other is held against."""
    line = CHECKS.of_run(seen(Observation(what="outcome", value="raises")))[NAME]
    assert line.observed == {"outcome": "raises"}


def test_a_large_number_where_zero_was_accepted_is_judged() -> None:
    """It is more than a float's range times as large, which is no reason to judge nothing."""
    assert finding(seen(number(5e8, 1e9)), accepted(dx=0.0)).verdict is Verdict.REGRESSED
