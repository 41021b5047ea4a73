"""Checks: families of cases that catch a kind of defect, on the list of known ones or not."""

from __future__ import annotations

from bnsuite.cases.checks.case import CheckCase, CheckNotApplicableError, Observation, Subject


def all_checks() -> tuple[CheckCase, ...]:
    """Returns the built-in checks, family by family."""
    from bnsuite.cases.checks import behaviour, numerics

    return tuple(case for family in (*numerics.FAMILIES, *behaviour.FAMILIES) for case in family.cases())


__all__ = ["CheckCase", "CheckNotApplicableError", "Observation", "Subject", "all_checks"]
