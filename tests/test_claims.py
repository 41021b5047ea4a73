"""Claims: what the seeds say, in which region, and never without evidence."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from bnsuite.articles import tables as shown
from bnsuite.articles.claims import CLAIMS, Answer, Claim, Region, Row, Scale, Within
from bnsuite.articles.evidence import Evidence, minus
from bnsuite.record import details
from bnsuite.record.details import Accuracy, Detail, Units
from bnsuite.record.errors import InputError
from conftest import Command, curve, make_run, result
from conftest import detail as bare_detail

chance = random.Random(0)
BN, NONE = "train/cnn/bn/data=digits", "train/cnn/none/data=digits"


def detail(seed: int, *, evaluation: float = 0.9, training: float = 0.9, dead: float = 0.0) -> Detail:
    """A seed's details with what claims ask for."""
    more = {
        "eval_mode": Accuracy(overall=evaluation, per_class=(evaluation,)),
        "train_mode": Accuracy(overall=training, per_class=(training,)),
        "units": (Units(layer="0", activation="relu", share=(0.5, dead)),),
    }
    return bare_detail(seed).model_copy(update=more)


@pytest.fixture(autouse=True)
def _same_chance_for_each() -> None:
    """A test draws the same numbers whichever ran before it."""
    chance.seed(1)


def claim(name: str) -> Claim:
    return next(one for one in CLAIMS if one.name == name)


def evidence(bn: dict[str, float], none: dict[str, float], seeds: int = 10) -> Evidence:
    """A pair of trainings with these `target_at` and `final`, under a little noise."""
    pair = [
        result(
            name,
            curves=tuple(
                curve(
                    seed,
                    target_at=how["target_at"] + chance.gauss(0, 0.05),
                    final=how["final"] * math.exp(chance.gauss(0, 0.01)),
                )
                for seed in range(seeds)
            ),
        )
        for name, how in ((BN, bn), (NONE, none))
    ]
    return Evidence(make_run(*pair))


def only(rows: list[Row]) -> Row:
    assert len(rows) == 1
    return rows[0]


def test_there_are_at_least_the_eleven_claims() -> None:
    """Each with a name of its own, the article it is from, and a sentence."""
    assert len({one.name for one in CLAIMS}) == len(CLAIMS) >= 11
    assert all(one.text and one.article for one in CLAIMS)


def test_fewer_epochs() -> None:
    """Two epochs fewer holds; as many does not; noise about nothing is undecided."""
    fast, slow = {"target_at": 3.0, "final": 0.1}, {"target_at": 5.0, "final": 0.1}
    row = only(claim("faster").rows(evidence(fast, slow)))
    assert (row.answer, row.seeds, row.where) == (Answer.HOLDS, 10, "cnn data=digits")
    assert row.mean == pytest.approx(-2.0, abs=0.15)
    assert row.low < row.mean < row.high
    assert only(claim("faster").rows(evidence(slow, fast))).answer is Answer.FAILS
    assert only(claim("faster").rows(evidence(fast, fast, seeds=2))).answer is not Answer.HOLDS


def test_a_training_that_never_learns_counts_with_all_its_epochs() -> None:
    """Which is too few, so the claim is only harder to hold."""
    row = only(claim("faster").rows(evidence({"target_at": 3.0, "final": 0.1}, {"target_at": 3.0, "final": 0.5})))
    assert row.mean == pytest.approx(3.0 - 10, abs=0.1)


def test_lower_loss_is_a_ratio() -> None:
    """A fifth lower, whatever the loss; five per cent higher does not hold."""
    even = {"target_at": 3.0, "final": 0.1}
    row = only(claim("lower").rows(evidence({"target_at": 3.0, "final": 0.08}, even)))
    assert (row.answer, row.scale) == (Answer.HOLDS, Scale.RATIO)
    assert math.exp(row.mean) == pytest.approx(0.8, abs=0.02)
    assert only(claim("lower").rows(evidence({"target_at": 3.0, "final": 0.105}, even))).answer is Answer.FAILS


def test_modes_agree_or_not() -> None:
    """Within one percentage point holds; five apart does not; without details there is no row."""
    run = make_run(result(BN, curves=tuple(curve(seed) for seed in range(5))))

    def row(gap: float) -> Row:
        seen = tuple(detail(seed, training=0.9 - gap + 0.0001 * seed) for seed in range(5))
        return only(claim("modes").rows(Evidence(run, {BN: seen})))

    assert row(0.001).answer is Answer.HOLDS
    assert row(0.05).answer is Answer.FAILS
    assert claim("modes").rows(Evidence(run)) == []


def test_units_die_without_batch_norm() -> None:
    """A share of ten points more at the end."""
    run = make_run(*(result(name, curves=tuple(curve(seed) for seed in range(5))) for name in (BN, NONE)))
    seen = {
        BN: tuple(detail(seed, dead=0.0) for seed in range(5)),
        NONE: tuple(detail(seed, dead=0.1 + 0.001 * seed) for seed in range(5)),
    }
    row = only(claim("dying").rows(Evidence(run, seen)))
    assert (row.answer, row.scale) == (Answer.HOLDS, Scale.POINTS)


def test_regions() -> None:
    """What lies in both is the claim's; what reaches out of both is undecided."""
    assert Region(0.0, -0.1).answer(-1.0, -0.5) is Answer.HOLDS
    assert Region(0.0, -0.1).answer(-0.05, 0.05) is Answer.FAILS
    assert Region(0.0, -0.1).answer(-0.2, 0.05) is Answer.UNDECIDED
    assert Within(0.01).answer(-0.005, 0.005) is Answer.HOLDS
    assert Within(0.01).answer(0.02, 0.03) is Answer.FAILS
    assert Within(0.01).answer(0.0, 0.03) is Answer.UNDECIDED


def test_pairs_are_by_seed() -> None:
    """A seed that one side lacks is left out, and one seed alone is no evidence."""
    assert minus({0: 1.0, 1: 2.0}, {1: 0.5, 2: 9.0}) == {1: 1.5}
    assert claim("faster").rows(evidence({"target_at": 3.0, "final": 0.1}, {"target_at": 5.0, "final": 0.1}, 1)) == []


def test_sweeps_find_their_cases_in_other_workloads() -> None:
    """Learning rate 0.01 of synthetic-mlp is that workload's own case, and so is the weight scale 1."""
    names = [
        *(f"train/lr-sweep/{norm}/net=synthetic-mlp/lr=0.001" for norm in ("bn", "none")),
        *(f"train/synthetic-mlp/{norm}/lr=0.01" for norm in ("bn", "none")),
        *(f"train/init-sweep/{norm}/scale=10" for norm in ("bn", "none")),
    ]
    run = make_run(*(result(name, curves=tuple(curve(seed) for seed in range(3))) for name in names))
    rows = claim("tenfold").rows(Evidence(run))
    assert {row.where for row in rows} == {"synthetic-mlp lr 0.001 to 0.01"}
    assert Evidence(run).initial_scales()["bn"] == {10.0: names[4], 1.0: names[2]}


def test_effects_are_shown_with_their_unit() -> None:
    assert shown.effect(Scale.EPOCHS, -1.5) == "-1.50 epochs"
    assert shown.effect(Scale.POINTS, 0.012) == "+1.2 points"
    assert shown.effect(Scale.RATIO, math.log(0.8)) == "-20.0 %"
    assert shown.effect(Scale.RATIO, math.log(250)) == "x 250"
    assert shown.effect(Scale.LOSS, 0.1234) == "+0.123"


def test_details_that_are_a_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "trainings").write_text("")
    with pytest.raises(InputError, match="trainings: is a file, where the details of trainings would lie; remove it"):
        details.load(tmp_path)


def test_the_verb(bnsuite: Command, tmp_path: Path) -> None:
    """Tables, the same as JSON, and one line with status 3 where nothing was tried."""
    from bnsuite.record import store

    (tmp_path / "run").mkdir()
    seen = evidence({"target_at": 3.0, "final": 0.1}, {"target_at": 5.0, "final": 0.1})
    store.save(seen.run, tmp_path / "run")
    details.save(result(BN).case, [detail(seed) for seed in range(10)], tmp_path / "run")
    done = bnsuite("claims", "run")
    assert done.status == 0, done.err
    assert done.err == f"bnsuite: run: trainings/ lacks 1 training ({NONE}); what needs them is left out\n"
    details.save(result(NONE).case, [detail(seed) for seed in range(10)], tmp_path / "run")
    done = bnsuite("claims", "run")
    assert (done.status, done.err) == (0, "")
    assert "With batch norm the target is reached in fewer epochs (article 0, 1, 2, 3): 1 holds" in done.out
    answers = json.loads(bnsuite("claims", "run", "--json").out)
    rows = next(one["rows"] for one in answers["claims"] if one["name"] == "faster")
    assert rows[0]["answer"] == "holds"
    assert answers["schema"] == 1
    (tmp_path / "empty").mkdir()
    store.save(make_run(result("op/a")), tmp_path / "empty")
    done = bnsuite("claims", "empty")
    assert (done.status, done.err.count("\n")) == (3, 1)
    assert "--profile full tries all" in done.err
