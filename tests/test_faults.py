"""Every fault of ``faults.py`` is caught by the family of checks that is meant to."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

import faults
from bnsuite.cases import functions
from bnsuite.cases.checks import CheckCase, CheckNotApplicableError, Observation, Subject, all_checks
from bnsuite.cases.implementation import VARIABLE
from bnsuite.record.select import matcher

#: How far apart values without a limit may be, which a run compares with its baseline.
DRIFT = 0.05

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


@contextlib.contextmanager
def judging(implementation: str | None) -> Iterator[None]:
    """Judges a class or function of ``faults.py``, or torch's own."""
    with pytest.MonkeyPatch.context() as patch:
        if implementation is None:
            for variable in (VARIABLE, *functions.VARIABLES.values()):
                patch.delenv(variable, raising=False)
        else:
            role = ROLES.get(implementation)
            patch.setenv(functions.VARIABLES[role] if role else VARIABLE, f"{faults.__name__}:{implementation}")
            patch.setenv("PYTHONPATH", str(Path(faults.__file__).parent), prepend=os.pathsep)
        yield


def device_of(case: CheckCase) -> str:
    """The CPU, where it will do."""
    return "cuda:0" if case.gpu_only else "cpu"


def observed(case: CheckCase, implementation: str | None) -> dict[str, Observation] | str | None:
    """Returns the observations of `case` by name; its error; or None if it does not apply here."""
    with judging(implementation):
        try:
            return {seen.what: seen for seen in case.observe(Subject(device_of(case)))}
        except CheckNotApplicableError:
            return None
        except Exception as error:  # noqa: BLE001  # a check that ends in an error is red
            return f"{type(error).__name__}: {error}"


@cache
def observed_of_sound(case_id: str, implementation: str | None) -> dict[str, Observation] | str | None:
    """Returns the observations of a layer that is not faulty, made once."""
    return observed(BY_ID[case_id], implementation)


def is_wrong(seen: Observation, own: Observation | None) -> bool:
    """Returns True if `seen` fails, `own` being the same observation of torch's own layer."""
    if seen.limit is not None:
        return not float(seen.value) <= seen.limit
    if seen.expected is not None:
        return seen.value != seen.expected
    if own is None or isinstance(seen.value, str) or isinstance(own.value, str):
        return own is None or seen.value != own.value
    return abs(seen.value - own.value) > DRIFT * max(abs(own.value), 1e-9)


def found(case: CheckCase, implementation: str) -> dict[str, str]:
    """Returns the faults that `case` finds in an implementation and not in torch's own layers."""
    lacking = BY_ID[case.id].gpu_only and not case.gpu_only and not torch.cuda.is_available()
    own = {} if lacking else observed_of_sound(case.id, None)  # torch's own layer can't do it on a CPU
    seen = observed_of_sound(case.id, implementation) if implementation in RIGHT else observed(case, implementation)
    if seen is None or own is None or isinstance(own, str):
        return {}
    if isinstance(seen, str):
        return {"ended": seen}
    return {
        what: str(one.value)
        for what, one in seen.items()
        if is_wrong(one, own.get(what)) and not (what in own and is_wrong(own[what], own[what]))
    }


def catches(case: CheckCase, fault: faults.Fault) -> bool:
    """Returns True if `case` finds a fault in a faulty layer that it does not find in its base."""
    wrong = found(case, fault.name)
    return bool(wrong) and not wrong.keys() <= found(case, base_of(fault.name)).keys()


def base_of(name: str) -> str:
    """The layer that a fault changes, itself not faulty."""
    if name in ROLES:
        return f"faithful_{ROLES[name]}"
    if issubclass(getattr(faults, name), faults.Synchronised):
        return "Synchronised"
    return "Composed" if issubclass(getattr(faults, name), faults.Composed) else "Faithful"


def applies(case: CheckCase) -> bool:
    """Returns True if `case` applies to implementations and can be run here."""
    there = all(importlib.util.find_spec(package) for package in case.needs)
    return (case.pluggable or bool(case.role)) and there and (torch.cuda.is_available() or not case.gpu_only)


def meant_for(fault: faults.Fault) -> list[CheckCase]:
    """The cases that are to catch `fault`, the quick ones first."""
    match = matcher(fault.select)
    with judging(fault.name):  # some cases need a GPU for torch's own layer alone
        checks = all_checks()
    return sorted((case for case in checks if match(case.id)), key=lambda case: not case.quick)


BY_ID = {case.id: case for case in all_checks()}
#: The roles of functions, and those that are not faulty.
ROLES = {
    **{fault.name: fault.role for fault in faults.FAULTS if fault.role},
    **{f"faithful_{role}": role for role in functions.ROLES},
}
RIGHT = ("Faithful", "Composed", "Synchronised", *(f"faithful_{role}" for role in functions.ROLES))
CHECKED = [fault for fault in faults.FAULTS if fault.gate in {"numerics", "behaviour"}]


#: These are found in ten seconds each.
SLOW = {"CompiledFlattened", "WeightTouched"}


@pytest.mark.parametrize(
    "fault",
    [pytest.param(one, id=one.name, marks=[pytest.mark.slow] if one.name in SLOW else []) for one in CHECKED],
)
def test_is_caught(fault: faults.Fault) -> None:
    """A case of the family meant for a fault finds it, and finds nothing wrong with the layer that it changes."""
    meant = meant_for(fault)
    assert meant, fault.select
    here = [case for case in meant if applies(case)]
    if not here:
        pytest.skip(f"no case of {fault.family} applies to implementations here")
    assert any(catches(case, fault) for case in here)


@pytest.mark.parametrize(
    "case", [case for case in all_checks() if case.quick and case.pluggable and applies(case)], ids=lambda case: case.id
)
def test_faithful_is_green(case: CheckCase) -> None:
    """No quick check finds anything wrong with a layer that does what torch's does."""
    assert not found(case, "Faithful")


def test_faults_are_many() -> None:
    """Names are unique, and faults of every gate are there."""
    assert len({fault.name for fault in faults.FAULTS}) == len(faults.FAULTS) >= 36
    assert {fault.gate for fault in faults.FAULTS} == {"numerics", "behaviour", "memory", "timing"}
    assert len({fault.family for fault in faults.FAULTS}) >= 14
