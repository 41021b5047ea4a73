"""Family ``export``: layers that are scripted, traced, exported, and written to ONNX."""

from __future__ import annotations

from collections.abc import Iterator

from bnsuite.cases.checks.behaviour.export import modules, onnx, switching
from bnsuite.cases.checks.case import BehaviourCase


def cases() -> Iterator[BehaviourCase]:
    yield from modules.cases()
    yield from onnx.cases()
    yield from switching.cases()
