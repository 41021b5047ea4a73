"""Timed rounds."""

from __future__ import annotations

from collections.abc import Iterator

from bnsuite.measure.clock import time_rounds


def test_rounds_are_seconds_per_step() -> None:
    """A clock that ticks once a second, and rounds of four steps."""
    ticks: Iterator[float] = iter(range(100))
    calls: list[None] = []
    samples = time_rounds(lambda: calls.append(None), lambda: next(ticks), rounds=3, iterations=4)
    assert samples == [0.25, 0.25, 0.25]
    assert len(calls) == 12


def test_a_setup_runs_before_each_round_and_is_not_timed() -> None:
    """Two rounds of three steps take 6 s, and the clock moved 200 s more."""
    now = 0.0

    def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    assert time_rounds(lambda: advance(1), lambda: now, 2, 3, lambda: advance(100)) == [1.0, 1.0]
    assert now == 206
