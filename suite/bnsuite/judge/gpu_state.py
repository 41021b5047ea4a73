"""The state of a GPU beside a slower time: a lower clock, a power cap, and processes that could not be looked for.

A clock that follows heat and power moves every case that computes, and controls that move bytes don't show it. A power
cap spoils nothing by itself: a GPU at its limit works as it should, and the clock says what the limit costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log1p
from statistics import median

from bnsuite.judge.reason import Record
from bnsuite.record.gpu import GpuWatch
from bnsuite.record.interleaved import PairedCase
from bnsuite.record.reference import LaunchValue
from bnsuite.record.schema import Timing

#: A median SM clock that is lower by more than this may explain a slowdown.
MAX_CLOCK_DROP = 0.03
#: A power cap that held the clocks for less of the time is not worth a word.
MIN_CAPPED_SHARE = 0.05


def is_held_down(clock: float | None) -> bool:
    """Returns if a relative change of the clock is a drop that is worth a word."""
    return clock is not None and clock < -MAX_CLOCK_DROP


def explains(clock: float | None, slowdown: float, room: float) -> bool:
    """Returns if a change of the clock explains a slowdown (log scale): one that it can't cause is never hidden.

    A step that only computes is slower by as much as the clock is lower; `room` (log scale) is the margin besides.
    """
    return clock is not None and is_held_down(clock) and slowdown <= -log1p(clock) + room


def clock_since(launches: Sequence[LaunchValue], accepted: Sequence[LaunchValue]) -> float | None:
    """Returns the relative change of the median SM clock since the accepted launches; None where one is not known."""
    now, before = ([one.sm_clock_mhz for one in some if one.sm_clock_mhz] for some in (launches, accepted))
    return median(now) / median(before) - 1 if now and before else None


def clock_of_sides(compared: PairedCase | None) -> float | None:
    """Returns B's median SM clock relative to A's over all launches; None where it is not known."""
    pairs = [one.sm_clocks_mhz for one in compared.launches if one.sm_clocks_mhz] if compared is not None else []
    return median(b / a - 1 for a, b in pairs if a > 0) if any(a > 0 for a, _ in pairs) else None


def notes(clock: float | None, launches: Sequence[Timing], spots: Sequence[str] = ()) -> Record:
    """Returns what a reason has to say of the GPU, as its data ``gpu``; empty where there is nothing.

    That is `clock` (a relative change) if it is a drop, `capped` (the share of the time), and `blind`: why other
    processes may have been there unseen, besides `spots`.
    """
    watched = [one.gpu for one in launches if one.gpu is not None]
    shares = [share for one in watched if (share := _capped(one)) is not None]
    blind = sorted({*spots, *(spot for one in watched for spot in one.blind)})
    found: Record = {}
    if is_held_down(clock):
        found["clock"] = clock
    if shares and median(shares) >= MIN_CAPPED_SHARE:
        found["capped"] = median(shares)
    if blind:
        found["blind"] = [*blind]
    return {"gpu": found} if found else {}


def _capped(watch: GpuWatch) -> float | None:
    """Returns the share of the time that the power cap held the clocks; None where nobody counts it."""
    held = (watch.throttle_s or {}).get("sw_power_cap")
    return min(1.0, held / watch.window_s) if held is not None and watch.window_s else None
