"""The smallest slowdown that an interleaved comparison could have found, by the launches that it made."""

from __future__ import annotations

from collections.abc import Sequence
from math import expm1, log1p, sqrt

from bnsuite.judge import blocks
from bnsuite.judge.interleaved import (
    FIRST_LOOK,
    FLOOR,
    LOOK_ALPHA,
    MARGIN,
    PASS_ALPHA,
    TRIMMED,
    confirming_alpha,
    moderated,
    timed_cases,
)
from bnsuite.judge.statistics import t_quantile
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.schema import Run

#: The probability with which each of the two tests shows a slowdown of the returned size.
POWER = 0.9


def smallest_slowdown(screen: Sequence[float], cases: int, most: int) -> float | None:
    """Returns the smallest slowdown (0.02: two per cent) that launches with these values would show; None for too few.

    `screen` are the values of the launches that a case was screened by (log scale), one of `cases` cases; `most`
    launches may confirm. Means are taken to spread about the true slowdown s by Student's t, with a standard error e
    and f degrees of freedom. Two tests must find s, each with probability POWER: its mean is above
    max(log(1 + FLOOR), t(1 - a; f) e), a being the level of the test, and above log(1 + MARGIN) - t(1 - PASS_ALPHA; f)
    e, below which B would PASS. Thus s = max(both bounds) + t(POWER; f) e. Screening has the level LOOK_ALPHA, and e
    and f of the n values in `screen` (:func:`bnsuite.judge.interleaved.moderated`). Confirming has its own level,
    launches that deviate as much, e' = e sqrt(n / most), and f' = most - 2 (most // TRIMMED) - 1. The larger s of the
    two is returned, as exp(s) - 1.
    """
    count = len(screen)
    if count < FIRST_LOOK or most < FIRST_LOOK:
        return None
    screened = moderated(screen)
    confirming_error = screened.error * sqrt(count / most)
    confirming_freedom = most - 2 * (most // TRIMMED) - 1
    return expm1(
        max(
            _detectable(LOOK_ALPHA, screened.error, int(screened.freedom)),
            _detectable(confirming_alpha(cases, most), confirming_error, confirming_freedom),
        )
    )


def _detectable(alpha: float, error: float, freedom: int) -> float:
    """Returns the change (log scale) that a one-sided test at level `alpha` shows with probability POWER."""
    shown = max(log1p(FLOOR), t_quantile(freedom, 1 - alpha) * error)
    passes = log1p(MARGIN) - t_quantile(freedom, 1 - PASS_ALPHA) * error
    return max(shown, passes) + t_quantile(freedom, POWER) * error


def by_case(run: Run, times: InterleavedTimes) -> dict[str, float]:
    """Returns the smallest slowdown of each timed case of `run`, which is B's, that has enough launches."""
    timed = timed_cases(run)
    names = {one.id for one in timed}
    found = {
        one.id: smallest_slowdown(blocks.values(one), len(timed), times.most_launches)
        for one in times.cases
        if one.id in names
    }
    return {name: slowdown for name, slowdown in found.items() if slowdown is not None}
