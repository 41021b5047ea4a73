"""CONVERT: convert_sync_batchnorm on nets of all kinds."""

from __future__ import annotations

from collections.abc import Iterator

from bnsuite.cases.checks.case import BehaviourCase


def cases() -> Iterator[BehaviourCase]:
    return iter(())
