"""The value of a launch of a comparison: how much longer B takes than A, estimated from pairs of blocks."""

from __future__ import annotations

from math import comb, log
from statistics import fmean, median
from typing import NamedTuple

from bnsuite.record.interleaved import InterleavedTimes, PairedCase, PairedLaunch
from bnsuite.record.schema import UNDISTURBED_SHARE
from bnsuite.record.selftest import Values

#: Disturbances of a machine fall so unevenly on the two sides with a probability below this.
ONE_SIDED = 0.001


def value(launch: PairedLaunch) -> float | None:
    """Returns how much longer B took (log scale): the interquartile mean over pairs.

    Pairs of which a side had to share its core don't count. None where the launch, or half of it, was disturbed.
    """
    ratios = sorted(
        log(b / a)
        for a, b, disturbed in zip(launch.a_s, launch.b_s, _disturbed_pairs(launch), strict=True)
        if not disturbed
    )
    if launch.disturbed is not None or 2 * len(ratios) <= len(launch.a_s):
        return None
    quarter = len(ratios) // 4
    return fmean(ratios[quarter : len(ratios) - quarter])


class Busy(NamedTuple):
    """The cores that both sides kept busy in a launch, and the change from A's to B's (log scale)."""

    change: float
    a: float
    b: float


def cores_busy(launch: PairedLaunch) -> Busy | None:
    """Returns the cores that were kept busy: the interquartile mean of changes over pairs; None where that is unknown.

    Pairs of which a side had to share its core don't count.
    """
    if not launch.a_cores_busy or not launch.b_cores_busy:
        return None
    pairs = [
        (a, b)
        for a, b, disturbed in zip(launch.a_cores_busy, launch.b_cores_busy, _disturbed_pairs(launch), strict=True)
        if not disturbed and a > 0 and b > 0
    ]
    if 2 * len(pairs) <= len(launch.a_s):
        return None
    changes = sorted(log(b / a) for a, b in pairs)
    quarter = len(changes) // 4
    change = fmean(changes[quarter : len(changes) - quarter])
    return Busy(change, median(a for a, _ in pairs), median(b for _, b in pairs))


def values(case: PairedCase, *, confirms: bool = False) -> list[float]:
    """Returns the values of a case's launches that count, of the first ones or of those made to confirm."""
    return [seen for one in case.launches if one.confirms is confirms and (seen := value(one)) is not None]


def values_by_case(times: InterleavedTimes) -> tuple[Values, ...]:
    """Returns the value of every launch of every case, controls included; None for one that was disturbed."""

    def of(case: PairedCase, *, confirms: bool) -> tuple[float | None, ...]:
        return tuple(value(one) for one in case.launches if one.confirms is confirms)

    return tuple(
        Values(case=one.id, screen=of(one, confirms=False), confirm=of(one, confirms=True)) for one in times.cases
    )


def _disturbed_pairs(launch: PairedLaunch) -> list[bool]:
    """Returns for each pair if something else had the core of either side.

    Disturbances of a machine meet both sides alike. Where one side lacks CPU time much more often than the other,
    it waits by its own doing, and all pairs count.
    """
    a, b = (
        [share is not None and share < UNDISTURBED_SHARE for share in shares]
        for shares in (launch.a_shares, launch.b_shares)
    )
    more, all_ = max(sum(a), sum(b)), sum(a) + sum(b)
    if sum(comb(all_, count) for count in range(more, all_ + 1)) < ONE_SIDED * 2**all_:
        return [False] * len(a)
    return [one or other for one, other in zip(a, b, strict=True)]
