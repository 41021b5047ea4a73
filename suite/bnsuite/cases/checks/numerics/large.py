"""BIGN, BIGNUMEL: batches and tensors past the sizes where indices and launch grids break."""

from __future__ import annotations

from collections.abc import Iterator

from bnsuite.cases.checks.case import NumericsCase


def cases() -> Iterator[NumericsCase]:
    return iter(())
