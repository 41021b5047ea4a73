"""What a comparison could resolve here of a workload of a user's: the smallest change, after which time.

It is computed from what the comparison measured anyway: the deviation of its launches, and the seconds that each took.
A deviation has no sign, so that it does not matter if B differs from A.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from statistics import median

from bnsuite.judge import blocks
from bnsuite.judge.interleaved import MARGIN, MIN_DEVIATION, moderated
from bnsuite.judge.noise import MIN_LAUNCHES, needed_launches
from bnsuite.record.interleaved import InterleavedTimes, PairedCase
from bnsuite.record.schema import Run

#: The changes that are tried, the smallest first: the margin within which B passes, then larger ones.
CHANGES = (MARGIN, 0.03, 0.05, 0.1, 0.2, 0.5)
FAMILY = "workload"


@dataclass(frozen=True)
class Resolution:
    """The smallest of CHANGES that a comparison of one case by itself shows with `launches`; None if it shows none."""

    case: str
    #: The standard deviation of one launch, relative.
    deviation: float
    most_launches: int
    change: float | None
    #: Launches of screening and of confirmation, and the seconds that they take, if a launch's are known.
    launches: int | None
    needs_s: float | None
    #: Runs from the same seed were equal to the bit on both sides; None if that was not looked at.
    deterministic: bool | None


def resolutions(a: Run, b: Run, times: InterleavedTimes) -> list[Resolution]:
    """Returns the resolution of each timed workload of B that has launches enough to tell."""
    families = {one.id: one.case.family for one in b.cases}
    found = (_of_case(one, times, (a, b)) for one in times.cases if families.get(one.id) == FAMILY)
    return [one for one in found if one is not None]


def _of_case(case: PairedCase, times: InterleavedTimes, runs: Iterable[Run]) -> Resolution | None:
    values = blocks.values(case) or blocks.values(case, confirms=True)
    if len(values) < MIN_LAUNCHES:
        return None
    deviation = max(MIN_DEVIATION, moderated(values).error * sqrt(len(values)))
    tried = ((change, needed_launches(change, deviation, times.most_launches)) for change in CHANGES)
    change, launches = next(((change, count) for change, count in tried if count is not None), (None, None))
    launch_s = _launch_s(case, times)
    return Resolution(
        case=case.id,
        deviation=deviation,
        most_launches=times.most_launches,
        change=change,
        launches=launches,
        needs_s=None if launches is None or launch_s is None else launches * launch_s,
        deterministic=_is_deterministic(case.id, runs),
    )


def _launch_s(case: PairedCase, times: InterleavedTimes) -> float | None:
    """Returns the seconds of a launch of a case by itself: its start, the controls, and the case on both sides."""
    took = [one.took_s for one in case.launches if one.took_s is not None]
    return median(times.starts_s) + median(took) if times.starts_s and took else None


def _is_deterministic(case: str, runs: Iterable[Run]) -> bool | None:
    """Returns what the check of a workload's determinism saw on both sides."""
    check = f"behaviour/{case.rpartition('/')[0]}/determinism"
    seen = [result.observations for run in runs for result in run.cases if result.id == check]
    if not seen or not all(seen):
        return None
    return all(one.value == one.expected for observations in seen for one in observations)
