"""CKPT: activation checkpointing."""

from __future__ import annotations

from collections.abc import Iterator

from bnsuite.cases.checks.case import BehaviourCase


def cases() -> Iterator[BehaviourCase]:
    return iter(())
