"""REF: results against float64 over magnitudes and sizes."""

from __future__ import annotations

from collections.abc import Iterator

from bnsuite.cases.checks.case import NumericsCase


def cases() -> Iterator[NumericsCase]:
    return iter(())
