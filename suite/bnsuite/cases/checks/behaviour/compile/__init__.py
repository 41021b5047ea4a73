"""Family ``compile``: torch.compile against eager."""

from __future__ import annotations

from collections.abc import Iterator

from bnsuite.cases.checks.behaviour.compile import chains, modes, networks, overtaken
from bnsuite.cases.checks.case import BehaviourCase


def cases() -> Iterator[BehaviourCase]:
    yield from networks.cases()
    yield from modes.cases()
    yield from chains.cases()
    yield from overtaken.cases()
