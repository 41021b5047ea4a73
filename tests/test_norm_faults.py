"""Every fault of ``norm_faults.py`` is caught by the cases that are meant to."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest

from bnsuite.cases.checks import CheckCase, CheckNotApplicableError, Observation, Subject, all_checks
from bnsuite.record.select import matcher
from norm_faults import NORM_FAULTS, NORMS, Composed, Faithful, NormFault, injected
from test_faults import is_wrong

if TYPE_CHECKING:
    import torch

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]

Seen = dict[str, Observation] | str | None
CHECKS = [case for case in all_checks() if not case.gpu_only]


def observed(case: CheckCase, made: type[Faithful] | None, norm: str) -> Seen:
    """Returns the observations of `case` by name; its error; or None if it does not apply here."""
    with injected(made() if made is not None else None, norm):
        try:
            return {seen.what: seen for seen in case.observe(Subject("cpu"))}
        except CheckNotApplicableError:
            return None
        except Exception as error:  # noqa: BLE001  # a check that ends in an error is red
            return f"{type(error).__name__}: {error}"


@cache
def observed_of_sound(case_id: str, made: type[Faithful] | None, norm: str) -> Seen:
    """Returns the observations of a function that is not faulty, made once."""
    return observed(next(case for case in CHECKS if case.id == case_id), made, norm)


def found(case: CheckCase, made: type[Faithful], norm: str) -> set[str]:
    """Returns what `case` finds wrong with a function and not with torch's own."""
    own = observed_of_sound(case.id, None, norm)
    sound = made in {Faithful, Composed}
    seen = observed_of_sound(case.id, made, norm) if sound else observed(case, made, norm)
    if seen is None or not isinstance(own, dict):
        return set()
    if isinstance(seen, str):
        return {"ended"}
    return {
        what
        for what, one in seen.items()
        if is_wrong(one, own.get(what)) and not (what in own and is_wrong(own[what], own[what]))
    }


def catches(case: CheckCase, fault: NormFault) -> bool:
    """Returns True if `case` finds a fault in a faulty function that it does not find in its base."""
    wrong = found(case, fault.made, fault.norm)
    base = Composed if issubclass(fault.made, Composed) else Faithful
    return bool(wrong) and not wrong <= found(case, base, fault.norm)


def meant_for(fault: NormFault) -> list[CheckCase]:
    match = matcher(fault.select)
    return [case for case in CHECKS if match(case.id)]


@pytest.mark.parametrize(
    "fault",
    [pytest.param(one, marks=pytest.mark.slow if one.slow else (), id=one.id) for one in NORM_FAULTS],
)
def test_is_caught(fault: NormFault) -> None:
    """A case meant for a fault of another norm finds it, and not in the function that it changes."""
    meant = meant_for(fault)
    assert meant, fault.select
    assert any(catches(case, fault) for case in meant)


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_composed_is_right(norm: str) -> None:
    """Steps of a norm by basic operations are right in every precision: a check that fails them is too strict."""
    match = matcher(f"(other-norms/step/{norm}/1d or other-norms/settings/{norm}) and not eval")
    for case in filter(lambda one: match(one.id), CHECKS):
        wrong = found(case, Composed, norm)
        assert not {what for what in wrong if "layout" not in what}, case.id


def test_faults_are_many() -> None:
    """Every norm has the faults of values, gradients, layouts, precision and values that are not finite."""
    assert len({one.id for one in NORM_FAULTS}) == len(NORM_FAULTS) >= 150
    assert all(sum(one.norm == norm for one in NORM_FAULTS) >= 30 for norm in NORMS)


class MeanOff(Composed):
    """The mean is off by `share` units in the last place at the least, and by twice as many at most."""

    share = 0.0

    def mean(self, rows: torch.Tensor) -> torch.Tensor:
        mean = super().mean(rows)
        return mean * (1 + self.share * 2.0**-23)


class MeanOffByThree(MeanOff):
    share = 1.5


class MeanOffByForty(MeanOff):
    share = 40.0


@pytest.mark.parametrize(("made", "is_wrong"), [(MeanOffByThree, False), (MeanOffByForty, True)])
def test_limits_of_constant_slices_are_those_of_a_mean_that_is_a_few_units_off(
    made: type[Faithful], *, is_wrong: bool
) -> None:
    """A mean at most 3 units in the last place off passes for every constant slice, and one that is 40 off does not."""
    match = matcher("constant-slices/constant/layer_norm and /float32/")
    cases = [case for case in CHECKS if match(case.id)]
    assert cases
    assert all(bool(found(case, made, "layer_norm")) == is_wrong for case in cases)
