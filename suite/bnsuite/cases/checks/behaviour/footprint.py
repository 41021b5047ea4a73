"""M-STEP, M-EVAL, M-LEAK: what a step holds, keeps and leaks."""

from __future__ import annotations

from collections.abc import Iterator

from bnsuite.cases.checks.case import BehaviourCase


def cases() -> Iterator[BehaviourCase]:
    return iter(())
