"""DEGEN: one value a channel, no samples, no channels."""

from __future__ import annotations

from collections.abc import Iterator

from bnsuite.cases.checks.case import NumericsCase


def cases() -> Iterator[NumericsCase]:
    return iter(())
