"""The order of cases in a run that may be cut off."""

from __future__ import annotations

import json
from fnmatch import fnmatch

from bnsuite.launch.order import DEFECTIVE, KINDS, family, telling
from bnsuite.record.schema import PlannedCase
from conftest import ROOT, result


def case(name: str, *, quick: bool = False) -> PlannedCase:
    """A case of the full profile alone, or of both."""
    return result(name).case.model_copy(update={"profiles": ("quick", "full") if quick else ("full",)})


def test_cases_of_the_quick_profile_come_first() -> None:
    """Whatever their kind is: a run that is cut off is a quick one at least."""
    cases = [case("numerics/strides/a"), case("train/mlp/bn", quick=True), case("op/a", quick=True)]
    assert [one.id for one in telling(cases)] == ["op/a", "train/mlp/bn", "numerics/strides/a"]


def test_families_come_by_turns() -> None:
    """Any beginning has seen every family; within a family the catalogue's order stays."""
    names = ["numerics/dtypes/a", "numerics/dtypes/b", "numerics/ranges/a", "numerics/ranges/b", "numerics/ranges/c"]
    ordered = [one.id.split("/", 1)[1] for one in telling(map(case, names))]
    assert ordered == ["dtypes/a", "ranges/a", "dtypes/b", "ranges/b", "ranges/c"]


def test_families_that_found_defects_lead_the_rotation() -> None:
    """They are those with pinned deviations, of which the baselines have three or more each."""
    ordered = telling([case("numerics/dtypes/a"), *(case(f"numerics/{name}/a") for name in reversed(DEFECTIVE))])
    assert [family(one) for one in ordered] == [*DEFECTIVE, "dtypes"]
    pins = json.loads((ROOT / "baselines" / "pins.json").read_text())["pins"]
    for name in DEFECTIVE:
        assert any(fnmatch(pin["case"], f"*/{name}/*") for pin in pins), name


def test_steps_of_several_ranks_are_last() -> None:
    """Whatever is timed after them would be timed beside their processes."""
    several = case("ratio/scaling/a").model_copy(update={"ranks": 2})
    assert [one.id for one in telling([several, case("train/mlp/bn")])] == ["train/mlp/bn", "ratio/scaling/a"]


def test_a_layer_comes_before_what_contains_it() -> None:
    """Layers, ratios, workloads, trainings; every kind that a case may have has a place."""
    ordered = telling(
        [case("train/mlp/bn"), case("faulty/a"), case("ratio/a"), case("op/a"), case("numerics/dtypes/a")]
    )
    assert [one.kind for one in ordered] == list(KINDS)
