"""The convergence gate: equal curves pass at once, others are compared seed by seed."""

from __future__ import annotations

import random

import pytest

from bnsuite.judge import convergence as gate
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.reference import CurveReference, Reference
from bnsuite.record.schema import Curve, Outcome, Status
from bnsuite.report.reasons import words
from conftest import curve, make_run, result

CASE = "train/w/bn/x"
chance = random.Random(0)
ACCEPTED = [
    curve(
        seed, target_at=3 + 0.2 * chance.random(), final=0.1 + 0.05 * chance.random(), early=0.4 + 0.1 * chance.random()
    )
    for seed in range(10)
]


@pytest.fixture(autouse=True)
def _same_chance_for_each() -> None:
    """A test draws the same numbers whichever ran before it."""
    chance.seed(1)


def judge(curves: list[Curve], accepted: list[Curve] = ACCEPTED, **more: object) -> Finding:
    stored = CurveReference(
        id=CASE, version=1, profiles=("quick", "full"), device="cpu", workload="w", curves=tuple(accepted)
    )
    run = make_run(result(CASE, curves=tuple(curves), **more))
    (finding,) = gate.judge(run, Reference(name="baselines/", convergence={CASE: stored}))
    return finding


def scaled(one: Curve, share: float) -> Curve:
    """The curve with every loss changed by `share`."""
    return one.model_copy(
        update={
            "train_loss": tuple(loss and loss * (1 + share) for loss in one.train_loss),
            "val_loss": tuple(loss and loss * (1 + share) for loss in one.val_loss),
            "early_loss": one.early_loss and one.early_loss * (1 + share),
        }
    )


def test_epochs_to_target_are_interpolated() -> None:
    """Between two epochs by the straight line, at once if it starts there, never if it never comes."""
    falling = curve(0).model_copy(update={"val_loss": (1.0, 0.6, 0.2, 0.1)})
    assert gate.epochs_to_target(falling, 0.4) == pytest.approx(1.5)
    assert gate.epochs_to_target(falling, 0.2) == pytest.approx(2.0)
    assert gate.epochs_to_target(falling, 1.0) == 0.0
    assert gate.epochs_to_target(falling, 0.05) is None
    diverged = curve(0).model_copy(update={"val_loss": (None, None, 0.1)})
    assert gate.epochs_to_target(diverged, 0.4) == 2.0


def test_equal_curves_pass_at_once() -> None:
    """Three seeds of ten are enough, if they are the same to the last bit."""
    finding = judge(ACCEPTED[:3])
    assert (finding.verdict, words(finding)) == (Verdict.PASS, "curves equal to the last bit, 3 seeds")


def test_rounding_is_no_change() -> None:
    """Another CPU rounds differently: a few parts in ten thousand, either way, pass by equivalence."""
    rounded = [scaled(one, chance.gauss(0, 3e-4)) for one in ACCEPTED]
    assert judge(rounded).verdict is Verdict.PASS
    assert judge(rounded[:3]).verdict is Verdict.PASS


def test_worse_losses_regress() -> None:
    """Twelve per cent on every seed, beyond the margin of three."""
    finding = judge([scaled(one, 0.12 + chance.gauss(0, 0.01)) for one in ACCEPTED])
    assert finding.verdict is Verdict.REGRESSED
    assert "final validation loss +1" in words(finding)


def test_slower_learning_regresses() -> None:
    """The same final losses, reached 8 % later."""
    later = [
        curve(one.seed, target_at=3.4 + 0.05 * chance.random(), final=one.val_loss[-1] or 0, early=one.early_loss or 0)
        for one in ACCEPTED
    ]
    finding = judge(later)
    assert finding.verdict is Verdict.REGRESSED
    assert "epochs to target" in words(finding)


def test_better_is_a_change_too() -> None:
    """A loss that got better for no reason is shown, to be acknowledged."""
    finding = judge([scaled(one, -0.10 + chance.gauss(0, 0.01)) for one in ACCEPTED])
    assert finding.verdict is Verdict.IMPROVED
    assert "bnsuite accept" in words(finding)


def test_a_worse_early_loss_is_not_outweighed_by_a_better_final_one() -> None:
    """Statistics detached in the backward pass look so: 3 % better at the end, 12 % worse at step 100."""
    curves = [
        scaled(one, -0.04 + chance.gauss(0, 0.003)).model_copy(
            update={"early_loss": (one.early_loss or 0) * (1.12 + chance.gauss(0, 0.01))}
        )
        for one in ACCEPTED
    ]
    finding = judge(curves)
    assert finding.verdict is Verdict.REGRESSED
    assert "early loss" in words(finding)


def test_what_got_better_hides_nothing_that_may_be_worse() -> None:
    """4 % better at step 100 on every seed, and final losses that may be three times as bad: not settled."""
    curves = [
        one.model_copy(
            update={
                "early_loss": (one.early_loss or 0) * 0.96,
                "val_loss": (*one.val_loss[:-1], (one.val_loss[-1] or 0) * worse),
            }
        )
        for one, worse in zip(ACCEPTED, (1.3, 3.0, 6.0), strict=False)
    ]
    finding = judge(curves)
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert words(finding).startswith("early loss -4.0 %, but 3 seeds can't settle final validation loss")


def test_a_regression_is_not_hidden_by_a_seed_that_crashes() -> None:
    """What the other seeds show is told, with the crash; they never pass for it."""
    crashed = {"outcomes": {gate.GATE: Outcome(status=Status.FAILED, reason="seed 9: it died")}}
    worse = judge([scaled(one, 0.2) for one in ACCEPTED[:9]], **crashed)
    assert worse.verdict is Verdict.REGRESSED
    assert words(worse).endswith("; besides, seed 9: it died")
    same = judge(ACCEPTED[:9], **crashed)
    assert (same.verdict, words(same)) == (Verdict.FAILED, "seed 9: it died")


def test_few_noisy_seeds_settle_nothing() -> None:
    """Three seeds that differ by 20 % either way are INCONCLUSIVE, and the way out is named."""
    finding = judge([scaled(one, share) for one, share in zip(ACCEPTED, (0.2, -0.2, 0.1), strict=False)])
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "--profile full" in words(finding)


def test_missing_the_target_regresses() -> None:
    """Every accepted seed learnt; one of three now does not."""
    lost = curve(1, final=0.5, early=ACCEPTED[1].early_loss or 0)
    finding = judge([ACCEPTED[0], lost, ACCEPTED[2]])
    assert finding.verdict is Verdict.REGRESSED
    assert "never on seed 1," in words(finding)


def test_losing_everything_regresses_though_the_baseline_misses_some() -> None:
    """One accepted seed in ten never learnt; now none does: far beyond chance."""
    accepted = [curve(0, final=0.5), *ACCEPTED[1:]]
    never = [scaled(one, 9.0).model_copy(update={"early_loss": one.early_loss}) for one in accepted]
    assert judge(never, accepted).verdict is Verdict.REGRESSED
    dead = [
        one.model_copy(update={"train_loss": (None,) * 10, "val_loss": (None,) * 11, "early_loss": None})
        for one in accepted
    ]
    assert judge(dead, accepted).verdict is Verdict.REGRESSED
    assert judge(dead[:1], accepted).verdict is not Verdict.PASS


def test_one_more_lost_seed_is_no_pass() -> None:
    """Where the baseline misses one of three by itself, another one lost is not settled either way."""
    accepted = [curve(0, final=0.5), *ACCEPTED[1:3]]
    run = [accepted[0], curve(1, final=0.5, early=ACCEPTED[1].early_loss or 0), accepted[2]]
    assert judge(run, accepted).verdict is Verdict.INCONCLUSIVE


def test_nothing_in_common_is_no_crash() -> None:
    """Diverged on both sides, and different all the same."""
    gone = [
        one.model_copy(update={"train_loss": (None,) * 10, "val_loss": (None,) * 11, "early_loss": None})
        for one in ACCEPTED[:3]
    ]
    gone = [one.model_copy(update={"val_accuracy": ()}) for one in gone]
    other = [one.model_copy(update={"train_loss": (0.5, *(None,) * 9)}) for one in gone]
    assert judge(other, gone).verdict is Verdict.INCONCLUSIVE


def test_divergence_regresses() -> None:
    """A loss that is not finite, where the baseline's is."""
    gone = ACCEPTED[2].model_copy(update={"train_loss": (*ACCEPTED[2].train_loss[:-1], None)})
    finding = judge([*ACCEPTED[:2], gone])
    assert finding.verdict is Verdict.REGRESSED
    assert "final training loss: not finite on seed 2," in words(finding)


def test_a_target_the_baseline_missed_as_well_is_no_news() -> None:
    """Without batch norm, at ten times the learning rate, some seeds never learn: nothing to hold against a run."""
    accepted = [curve(seed, final=0.5) for seed in range(3)]
    again = [scaled(one, 1e-5 * (one.seed - 1)) for one in accepted]
    assert judge(again, accepted).verdict is Verdict.PASS


def test_without_anything_to_compare_it_says_why() -> None:
    (unknown,) = gate.judge(make_run(result(CASE, curves=tuple(ACCEPTED))), Reference(name="baselines/"))
    assert (unknown.verdict, words(unknown)) == (
        Verdict.NO_BASELINE,
        "not in baselines/; `bnsuite accept` puts it there",
    )
    assert judge(ACCEPTED, version=2).verdict is Verdict.NO_BASELINE
    assert words(judge([curve(99)])) == "the baseline has none of the seeds of this run"
    assert judge([curve(0)]).verdict is Verdict.INCONCLUSIVE
    failed = {"convergence": Outcome(status=Status.FAILED, reason="seed 0: it raised")}
    assert judge(ACCEPTED, outcomes=failed).verdict is Verdict.FAILED
    assert judge([]).verdict is Verdict.FAILED


def test_error_rates() -> None:
    """Resampled seed noise of 3 %: under 1 % false alarms at 10 seeds, and 10 % worse losses found 95 times in 100."""

    def night(share: float) -> Finding:
        return judge([scaled(one, share + chance.gauss(0, 0.03)) for one in ACCEPTED])

    assert sum(night(0.0).verdict is Verdict.REGRESSED for _ in range(400)) <= 4
    assert sum(night(0.10).verdict is Verdict.REGRESSED for _ in range(100)) >= 95


def unpaired(finals: list[float]) -> list[Curve]:
    """Curves whose final losses are these and no seed's own."""
    return [curve(seed, final=final, early=0.4 + 0.01 * seed) for seed, final in enumerate(finals)]


def test_seeds_that_do_not_pair_are_compared_all_with_all() -> None:
    """A GPU that adds up in no fixed order: the run's ten against all twenty of the baseline, by ranks."""
    accepted = unpaired([0.1 * (1 + 0.01 * chance.gauss(0, 1)) for _ in range(20)])
    same = judge(unpaired([0.1 * (1 + 0.01 * chance.gauss(0, 1)) for _ in range(10)]), accepted)
    assert same.verdict is Verdict.PASS
    worse = judge(unpaired([0.11 * (1 + 0.01 * chance.gauss(0, 1)) for _ in range(10)]), accepted)
    assert worse.verdict is Verdict.REGRESSED
    assert worse.evidence["pairing"] == "unpaired"


def test_accuracy_is_held_to_a_percentage_point() -> None:
    """Two points fewer right answers on every seed is a regression, whatever the losses; a fifth of one is none."""

    def less_right(points: float) -> list[Curve]:
        return [
            one.model_copy(update={"val_accuracy": (*one.val_accuracy[:-1], 0.5 - points + chance.gauss(0, 1e-4))})
            for one in ACCEPTED
        ]

    finding = judge(less_right(0.02))
    assert finding.verdict is Verdict.REGRESSED
    assert "final error rate" in words(finding)
    assert judge(less_right(0.002)).verdict is Verdict.PASS


def test_a_regression_without_accuracy_is_judged_by_its_losses() -> None:
    without = [one.model_copy(update={"val_accuracy": ()}) for one in ACCEPTED]
    rounded = [scaled(one, chance.gauss(0, 3e-4)) for one in without]
    assert judge(rounded, without).verdict is Verdict.PASS
