"""The interleaved timing gate: false alarms are rare, slowdowns are found, and undecided cases do not pass."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import exp, log1p, sqrt

import pytest

from bnsuite.judge import blocks, interleaved
from bnsuite.judge.comparison import cut_short, judge
from bnsuite.judge.interleaved import Decision, decide
from bnsuite.judge.verdict import ExitStatus, Finding, Verdict, exit_status
from bnsuite.record.interleaved import InterleavedTimes, PairedCase, PairedLaunch
from bnsuite.record.pins import Pin
from bnsuite.record.schema import Observation, Outcome, Run, Status
from bnsuite.report import comparison
from bnsuite.report.reasons import words
from bnsuite.report.summary import last_line
from conftest import curve, make_run, result, timing

MOST = 18


def pairs(
    value: float, *, confirms: bool = False, share: float | None = 1.0, disturbed: str | None = None
) -> PairedLaunch:
    """A launch whose value is this (log scale)."""
    return PairedLaunch(
        a_rounds_s=((1e-3,),) * 4,
        b_rounds_s=((1e-3 * exp(value),),) * 4,
        a_first=(True, False, True, False),
        layouts=(0, 0, 1, 1),
        a_shares=(share,) * 4,
        b_shares=(1.0,) * 4,
        iterations=1,
        rounds=10,
        confirms=confirms,
        disturbed=disturbed,
    )


def test_half_of_the_pairs_decide_a_launch() -> None:
    """The interquartile mean: a layout of four in which one side was held up four times as long moves it little."""
    ratios = (0.01, 0.012, -1.4, 0.02, 0.014, -1.4, 0.016, 0.02)
    launch = pairs(0.0).model_copy(
        update={
            "a_rounds_s": ((1e-3,),) * 8,
            "b_rounds_s": tuple((1e-3 * exp(ratio),) for ratio in ratios),
            **dict.fromkeys(("a_shares", "b_shares"), (1.0,) * 8),
            "layouts": (0, 0, 1, 1, 2, 2, 3, 3),
        }
    )
    assert blocks.value(launch) == pytest.approx((0.01 + 0.012 + 0.014 + 0.016) / 4)


def launch(a_shares: list[float], b_shares: list[float], slow: float = 0.1) -> float | None:
    """The value of a launch in which the pairs with a lack of CPU time on B's side are slower by `slower`."""
    count = len(a_shares)
    made = PairedLaunch(
        a_rounds_s=((1e-3,),) * count,
        b_rounds_s=tuple((1e-3 * exp(slow) if share < 1 else 1e-3,) for share in b_shares),
        a_first=(True, False) * (count // 2),
        layouts=(0,) * count,
        a_shares=tuple(a_shares),
        b_shares=tuple(b_shares),
        iterations=1,
        rounds=1,
        confirms=False,
    )
    return blocks.value(made)


def test_what_a_side_does_by_itself_is_no_disturbance() -> None:
    """What disturbs the machine meets both sides, and doesn't count; where B alone waits, all of its pairs do."""
    quiet, waits = [1.0] * 40, [0.5] * 16 + [1.0] * 24
    assert launch([0.5] * 8 + [1.0] * 32, [1.0] * 30 + [0.5] * 8 + [1.0] * 2) == 0.0
    assert launch(quiet, [0.5] * 4 + [1.0] * 36) == 0.0
    assert (launch(quiet, waits) or 0.0) > 0.02
    assert launch(quiet, [0.5] * 30 + [1.0] * 10) == pytest.approx(0.1)
    assert launch([0.5] * 24 + [1.0] * 16, [1.0] * 16 + [0.5] * 24) is None


def measured(draw: Callable[[], float], cases: int = 1) -> tuple[Decision, int]:
    """What comes out where launches are made as `ab` makes them, and after how many."""
    values: dict[bool, list[float]] = {False: [], True: []}
    while True:
        decision = interleaved.decide_values(values[False], values[True], cases, MOST)
        if decision.verdict is not None:
            return decision, len(values[False]) + len(values[True])
        values[decision.flagged] += [draw() for _ in range(interleaved.EVERY)]


def heavy(chance: random.Random, deviation: float) -> float:
    """Student's t of 5 degrees of freedom, which machines' noise is like, with this deviation."""
    draw = chance.gauss(0, 1) / sqrt(chance.gammavariate(2.5, 2) / 5)
    return draw * deviation / sqrt(5 / 3)


@pytest.mark.parametrize(("deviation", "nights"), [(0.004, 200), (0.012, 200), (0.025, 100)])
def test_false_alarms_are_rare(deviation: float, nights: int) -> None:
    """Of runs of twenty unchanged cases each, at most 1 % raise any alarm."""
    chance = random.Random(7)
    alarms = 0
    for _ in range(nights):
        verdicts = [measured(lambda: heavy(chance, deviation), 20)[0].verdict for _ in range(20)]
        alarms += Verdict.REGRESSED in verdicts
    assert alarms <= 0.01 * nights


@pytest.mark.parametrize(("slower", "least"), [(0.02, 0.80), (0.03, 0.95), (0.05, 0.99)])
def test_a_slowdown_is_found(slower: float, least: float) -> None:
    """With launches that differ by 1.2 %, among twenty cases; and a slowdown of 5 % is never passed."""
    chance = random.Random(11)
    decided = [measured(lambda: log1p(slower) + heavy(chance, 0.012), 20)[0].verdict for _ in range(400)]
    assert decided.count(Verdict.REGRESSED) >= least * len(decided)
    if slower == 0.05:
        assert Verdict.PASS not in decided


def test_a_quiet_machine_needs_few_launches() -> None:
    """Nothing changed: most cases are decided at the first look, and nearly all at the second."""
    chance = random.Random(13)
    decided = [measured(lambda: heavy(chance, 0.006)) for _ in range(200)]
    assert sum(launches == interleaved.FIRST_LOOK for _, launches in decided) > 150
    assert sum(launches > interleaved.FIRST_LOOK + interleaved.EVERY for _, launches in decided) < 10
    assert all(decision.verdict is Verdict.PASS for decision, _ in decided)


def test_what_the_machine_cannot_carry_is_inconclusive() -> None:
    """Launches that differ by 15 %: neither an alarm nor a PASS, and a forecast of what it would take."""
    chance = random.Random(17)
    decision, launches = measured(lambda: 0.01 + chance.gauss(0, 0.15))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert launches == MOST
    assert decision.needs > 30


def test_a_slowdown_must_show_again() -> None:
    """Launches made to confirm that show none take the suspicion back."""
    slow, same = [0.04, 0.041, 0.039, 0.04, 0.042, 0.038], [0.0, 0.001, -0.001, 0.0, 0.002, -0.002]
    assert interleaved.decide_values(slow, [], 20, MOST).flagged
    assert interleaved.decide_values(slow, slow, 20, MOST).verdict is Verdict.REGRESSED
    assert interleaved.decide_values(slow, same, 20, MOST).verdict is Verdict.PASS


def test_faster_is_told_as_well() -> None:
    assert interleaved.decide_values([-0.05 + n / 1000 for n in range(6)], [], 20, MOST).verdict is Verdict.IMPROVED


@pytest.mark.parametrize("far_off", [-0.5, 0.3])
def test_one_launch_far_off_hides_nothing(far_off: float) -> None:
    """Neither that nothing changed, nor a slowdown; two at the same end of eight are too many."""
    around = [0.002, -0.004, 0.001, 0.003, -0.002, -0.001, 0.004]
    assert interleaved.decide_values([far_off, *around], [], 20, MOST).verdict is Verdict.PASS
    slower = [value + 0.03 for value in around]
    flagged = interleaved.decide_values([far_off, *slower], [], 20, MOST)
    assert flagged.flagged
    assert interleaved.decide_values([far_off, *slower], [*slower, far_off], 20, MOST).verdict is Verdict.REGRESSED
    assert interleaved.decide_values([far_off, far_off, *around[1:]], [], 20, MOST).verdict is None


def test_what_launches_usually_differ_by_is_known() -> None:
    """A case is passed at the first look that differs as usual; one that differs by much more is left to itself."""
    usual = [0.011, -0.009, 0.008, -0.01]
    assert interleaved.decide_values(usual, [], 20, MOST).verdict is Verdict.PASS
    assert interleaved.moderated(usual).error == pytest.approx(interleaved.USUAL_DEVIATION / 2, rel=0.1)
    loud = [6 * value for value in usual]
    assert interleaved.moderated(loud) == interleaved.estimate(loud)
    assert interleaved.decide_values(loud, [], 20, MOST).verdict is None


def test_equal_values_are_no_proof() -> None:
    """A handful of launches that agree by chance are taken to differ by as much as any do."""
    assert interleaved.estimate([0.0105] * 6).error > 0.001


def test_disturbed_launches_do_not_count() -> None:
    quiet = tuple(pairs(0.0) for _ in range(6))
    loud = (pairs(0.5, share=0.5), pairs(0.5, disturbed="the GPU was throttled (hw_slowdown)"))
    assert decide(PairedCase(id="op/a", launches=(*quiet[:3], *loud, *quiet[3:])), 1, MOST).verdict is Verdict.PASS


def times(*launches: PairedLaunch, budget_s: float | None = None) -> InterleavedTimes:
    control = PairedCase(id="control/copy", launches=tuple(pairs(0.001) for _ in range(6)))
    return InterleavedTimes(
        schema=2,
        a="python:/trusted",
        b=".",
        seed=1,
        most_launches=MOST,
        budget_s=budget_s,
        variables={},
        cases=(control, PairedCase(id="op/a", launches=launches)),
    )


def run_of(name: str = "op/a", *, outcomes: dict[str, Outcome] | None = None) -> Run:
    return make_run(result(name, timings=(timing(1e-3),), outcomes=outcomes))


def found(b: Run, interleaved_times: InterleavedTimes, a: Run | None = None) -> Finding:
    (finding,) = judge(a or b, b, interleaved_times, ())
    return finding


def test_the_evidence_is_told() -> None:
    """How much, how surely, by how many launches, and what plain operations did meanwhile."""
    slow = [0.04, 0.041, 0.039, 0.04, 0.042, 0.038]
    launches = (*(pairs(value) for value in slow), *(pairs(value, confirms=True) for value in slow))
    finding = found(run_of(), times(*launches))
    assert finding.verdict is Verdict.REGRESSED
    assert "takes +4.1 %" in words(finding)
    assert "in 4 launches and again in 4 fresh ones" in words(finding)
    assert "the controls changed by +0.1 %" in words(finding)
    assert finding.evidence["control_copy"] == pytest.approx(0.001, rel=0.01)
    assert (finding.low or 0) < (finding.change or 0) < (finding.high or 0)


@pytest.mark.parametrize(
    ("clocks", "verdict"),
    [
        ((1980.0, 1980.0), Verdict.REGRESSED),
        ((1980.0, 1930.0), Verdict.REGRESSED),
        ((1980.0, 1910.0), Verdict.INCONCLUSIVE),
        (None, Verdict.REGRESSED),
    ],
)
def test_a_clock_that_is_lower_on_bs_side_explains_a_slowdown(
    clocks: tuple[float, float] | None, verdict: Verdict
) -> None:
    """More than 3 % below A's it is said, beside the same confirmed slowdown; blind spots are named too."""
    slow = [0.04, 0.041, 0.039, 0.04, 0.042, 0.038]
    launches = (*(pairs(value) for value in slow), *(pairs(value, confirms=True) for value in slow))
    seen = [one.model_copy(update={"sm_clocks_mhz": clocks, "blind": ("mps",)}) for one in launches]
    finding = found(run_of(), times(*seen))
    assert finding.verdict is verdict
    assert "takes +4.1 %" in words(finding)
    assert ("the median SM clock was 4 % lower" in words(finding)) is (verdict is Verdict.INCONCLUSIVE)
    assert "could not look for other processes: the clients of MPS are one process" in words(finding)


def test_a_lower_clock_hides_no_greater_slowdown() -> None:
    """A step can't be slower by more than the clock is lower: the rest is B's, and REGRESSED."""
    launches = (*(pairs(value) for value in [0.7] * 6), *(pairs(value, confirms=True) for value in [0.7] * 6))
    seen = [one.model_copy(update={"sm_clocks_mhz": (1980.0, 1910.0)}) for one in launches]
    finding = found(run_of(), times(*seen))
    assert finding.verdict is Verdict.REGRESSED
    assert "the median SM clock was 4 % lower" in words(finding)


def test_too_much_disturbance_is_invalid() -> None:
    finding = found(run_of(), times(*(pairs(0.0, share=0.5) for _ in range(3))))
    assert finding.verdict is Verdict.INVALID
    assert "something else had the core in 3 of 3 launches" in words(finding)


def test_what_a_could_not_show_is_not_held_against_b() -> None:
    """SKIPPED with A's reason, or named where A failed; what fails in both is no change; no advice to accept."""
    b = make_run(result("numerics/reference/x", observations=(Observation(what="y[0]", value=1.0, limit=30.0),)))

    def beside(status: Status, b: Run = b) -> Finding:
        outcome = {"numerics": Outcome(status=status, reason="onnx is not installed")}
        return found(b, times(), a=make_run(result("numerics/reference/x", outcomes=outcome)))

    assert beside(Status.FAILED).verdict is Verdict.PASS  # it has a limit of its own
    failed = make_run(
        result("numerics/reference/x", outcomes={"numerics": Outcome(status=Status.FAILED, reason="it died")})
    )
    both = beside(Status.FAILED, failed)
    assert (both.verdict, words(both)) == (
        Verdict.SKIPPED,
        "fails in both; python:/trusted: onnx is not installed",
    )
    skipped = found(
        run_of(outcomes={"timing": Outcome(status=Status.PENDING)}),
        times(budget_s=10.0),
        a=run_of(outcomes={"timing": Outcome(status=Status.SKIPPED, reason="it needs a GPU")}),
    )
    assert (skipped.verdict, words(skipped)) == (Verdict.SKIPPED, "python:/trusted: it needs a GPU")


def test_what_b_can_not_show_any_more_is_missing() -> None:
    """An image that has lost its compiler is not as right as the one that has it; a package less is no loss of B's."""
    outcome = {"numerics": Outcome(status=Status.SKIPPED, reason="torch.compile has no working inductor here")}
    lost = result("numerics/reference/x", outcomes=outcome)
    a = make_run(result("numerics/reference/x", observations=(Observation(what="y[0]", value=1.0, limit=30.0),)))
    finding = found(make_run(lost), times(), a=a)
    assert finding.verdict is Verdict.MISSING
    assert words(finding).startswith("python:/trusted can do it, and . can't: torch.compile has no working inductor")
    less = lost.model_copy(update={"case": lost.case.model_copy(update={"lacks": ("torchvision",)})})
    assert found(make_run(less), times(), a=a).verdict is Verdict.SKIPPED
    refused = make_run(lost)
    refused = refused.model_copy(update={"options": refused.options.model_copy(update={"implementation": "m:f"})})
    assert found(refused, times(), a=a).verdict is Verdict.SKIPPED
    assert found(make_run(lost), times(), a=make_run(lost)).verdict is Verdict.SKIPPED


def test_what_the_budget_cut_short_is_inconclusive() -> None:
    """Both what was timed too little and what was not looked at; what fails still fails."""
    finding = found(run_of(), times(pairs(0.0), pairs(0.01), budget_s=10.0))
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "more launches would decide" in words(finding)
    unseen = make_run(result("numerics/reference/x"))
    assert found(unseen, times(budget_s=10.0)).verdict is Verdict.INCONCLUSIVE
    failed = run_of(outcomes={"timing": Outcome(status=Status.FAILED, reason="B: it hung")})
    assert found(failed, times(budget_s=10.0)).verdict is Verdict.FAILED


def test_a_slowdown_that_waits_to_be_confirmed_is_named() -> None:
    """Where the budget ends first: it is in the evidence and in the last line, and a large one is no status 0."""
    for slow, status in ((2.19, ExitStatus.NOT_MEASURED), (0.05, ExitStatus.FINE)):
        flagged = [slow, slow + 0.001, slow - 0.001, slow]
        finding = found(run_of(), times(*map(pairs, flagged), budget_s=90.0))
        assert (finding.verdict, finding.evidence["unconfirmed"]) == (Verdict.INCONCLUSIVE, 1)
        assert "a slowdown that is not confirmed" in words(finding)
        assert exit_status([finding], finished=True, strict=False) is status
        assert last_line(run_of(), [finding], status).startswith("a slowdown is not confirmed: 1 INCONCLUSIVE")
    quiet = found(run_of(), times(pairs(0.0), pairs(0.01), budget_s=90.0))
    assert "unconfirmed" not in quiet.evidence


def test_some_of_the_seeds_are_no_pass() -> None:
    """What the budget cut short is open, however equal the curves are; without a budget all of them were trained."""

    def trained(seeds: int, budget_s: float | None = 10.0) -> tuple[Finding, bool]:
        run = make_run(result("train/w/bn/x", timings=(timing(1e-3),), curves=tuple(map(curve, range(seeds)))))
        limited = times(budget_s=budget_s)
        findings = judge(run, run, limited, ())
        (finding,) = (one for one in findings if one.gate == "convergence")
        return finding, cut_short(run, limited, [finding])

    finding, cut = trained(2)
    assert (finding.verdict, cut) == (Verdict.INCONCLUSIVE, True)
    assert words(finding).startswith("the budget ended after 2 of 3 seeds; curves equal")
    for finding, cut in (trained(3), trained(2, None)):
        assert (finding.verdict, cut) == (Verdict.PASS, False)


def test_what_is_known_of_a_release_is_a_change_all_the_same() -> None:
    """Pins let a run pass; what A does not do is told as a regression, with what is known of it."""

    def seen(value: float) -> Run:
        return make_run(result("numerics/reference/x", observations=(Observation(what="y", value=value, limit=30.0),)))

    pin = Pin(case="numerics/*", what="y", device="any", torch="", value=1e9, reason="torch rounds twice there")
    (finding,) = judge(seen(1.0), seen(90.0), times(), (pin,))
    assert finding.verdict is Verdict.REGRESSED
    assert words(finding).endswith("; known, and pinned: torch rounds twice there")
    (finding,) = judge(seen(80.0), seen(90.0), times(), (pin,))
    assert finding.verdict is Verdict.PASS
    (finding,) = judge(seen(1.0), seen(90.0), times(), ())
    assert (finding.verdict, "known" in words(finding)) == (Verdict.REGRESSED, False)


@pytest.mark.parametrize(
    ("launches", "budget_s", "cut"), [(2, 10.0, True), (2, None, False), (6, 10.0, False), (0, 10.0, True)]
)
def test_it_is_known_what_more_time_might_have_decided(launches: int, budget_s: float | None, *, cut: bool) -> None:
    """Where the budget ended it; not where all was decided, or where there was none."""
    measured = times(*[pairs(0.0)] * launches, budget_s=budget_s)
    run = run_of()
    assert cut_short(run, measured, judge(run, run, measured, ())) is cut
    unseen = make_run(result("numerics/reference/x"))
    looked = times(budget_s=budget_s)
    assert cut_short(unseen, looked, judge(unseen, unseen, looked, ())) is (budget_s is not None)


def test_the_end_is_that_of_the_measuring() -> None:
    """Without a budget it is not the budget that ended; what was decided while it ran is what is judged."""
    assert "the measuring ended after 2 launches" in words(found(run_of(), times(pairs(0.0), pairs(0.01))))
    skipped = result("op/b", outcomes={"timing": Outcome(status=Status.SKIPPED, reason="not here")})
    both = make_run(result("op/a", timings=(timing(1e-3),)), skipped)
    assert [one.id for one in interleaved.timed_cases(both)] == ["op/a", "op/b"]


def test_an_injected_fault_is_named() -> None:
    """No reader takes a comparison with a fault in it for a real one."""
    injected = times(pairs(0.0)).model_copy(update={"injected": {"slower": 0.03}})
    assert "B, judged: ., with slower = 0.03 injected" in comparison.heading(run_of(), run_of(), injected)


def test_what_a_does_as_well_is_no_change() -> None:
    """A deviation that the trusted environment has too is let pass; one that is B's alone is not."""

    def seen(value: float) -> Run:
        return make_run(
            result("numerics/reference/x", observations=(Observation(what="y[0]", value=value, limit=30.0),))
        )

    assert found(seen(90.0), times(), a=seen(90.0)).verdict is Verdict.PASS
    assert found(seen(90.0), times(), a=seen(1.0)).verdict is Verdict.REGRESSED
    assert found(seen(900.0), times(), a=seen(90.0)).verdict is Verdict.REGRESSED
