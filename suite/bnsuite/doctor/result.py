"""Results of checks: a state, the values observed and the code of a fix; `report/doctor.py` words them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bnsuite.doctor.host import DoctorRequest, Host
from bnsuite.record.host import CheckState

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """The result of one check."""

    state: CheckState
    #: Plain JSON.
    observed: dict[str, Any]
    fix: str | None = None


def fine(**observed: Any) -> Result:
    """Returns the result of a check that found nothing wrong."""
    return Result(CheckState.OK, observed)


def disturbs(fix: str, **observed: Any) -> Result:
    """Returns the result of a check that found a disturbance."""
    return Result(CheckState.DISTURBS, observed, fix)


def judged(fix: str, *, disturbed: bool, **observed: Any) -> Result:
    """Returns either of the two."""
    return disturbs(fix, **observed) if disturbed else fine(**observed)


def unknown(error: str) -> Result:
    """Returns the result of a check that could not look."""
    return Result(CheckState.UNKNOWN, {"error": error})


def not_applicable(why: str) -> Result:
    """Returns the result of a check that has nothing to look at on this host; `why` is a code."""
    return Result(CheckState.NOT_APPLICABLE, {"why": why})


@dataclass(frozen=True)
class Subject(Generic[T]):
    """A subject of checks: `probe` looks at the host once, and each check judges what it found."""

    name: str
    probe: Callable[[Host, DoctorRequest], T]
    checks: Mapping[str, Callable[[T], Result]]
    #: Seconds that this subject may take where it has more to do than look; None for the limit of them all.
    limit_s: Callable[[Host, DoctorRequest], float | None] = lambda _, __: None
