"""RANGE: magnitudes to the edge of a precision, and what is not finite."""

from __future__ import annotations

from collections.abc import Iterator

from bnsuite.cases.checks.case import NumericsCase


def cases() -> Iterator[NumericsCase]:
    return iter(())
