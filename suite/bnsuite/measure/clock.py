"""Timed rounds, with any clock whose marks subtract to seconds: all that pytest-benchmark asks of a timer as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnsuite.cases import Step


def time_rounds(
    step: Step, clock: Callable[[], Any], rounds: int, iterations: int = 1, setup: Step | None = None
) -> list[float]:
    """Seconds per step, one value for each round of `iterations` steps; `setup` runs before each round, untimed."""
    samples = []
    for _ in range(rounds):
        if setup is not None:
            setup()
        begin = clock()
        for _ in range(iterations):
            step()
        samples.append((clock() - begin) / iterations)
    return samples
