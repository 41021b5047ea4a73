"""VALID: wrong arguments are errors, never crashes."""

from __future__ import annotations

from collections.abc import Iterator

from bnsuite.cases.checks.case import BehaviourCase


def cases() -> Iterator[BehaviourCase]:
    return iter(())
