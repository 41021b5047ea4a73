"""SHIFT: channels far from zero, and constant ones."""

from __future__ import annotations

from collections.abc import Iterator

from bnsuite.cases.checks.case import NumericsCase


def cases() -> Iterator[NumericsCase]:
    return iter(())
