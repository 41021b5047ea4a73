"""Checks: families of cases that catch a kind of defect, on the list of known ones or not."""

from __future__ import annotations

from bnsuite.cases.checks import behaviour, numerics
from bnsuite.cases.checks.case import CannotLookError, CheckCase, Observation, Subject

CASES: tuple[CheckCase, ...] = tuple(
    case for family in (*numerics.FAMILIES, *behaviour.FAMILIES) for case in family.cases()
)

__all__ = ["CASES", "CannotLookError", "CheckCase", "Observation", "Subject"]
