"""Launch after launch of a comparison, until every case is decided or the budget ends."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from bnsuite.judge import blocks
from bnsuite.judge.interleaved import EVERY, FIRST_LOOK, Decision, decide, timed_cases
from bnsuite.launch.interleaved.launches import InterleavedLaunches, LostLaunchError
from bnsuite.launch.interleaved.sides import PairedSession, PreparedPair
from bnsuite.launch.plan import MAX_REPEATS
from bnsuite.record.interleaved import PairedCase

#: A case is undecided after so many launches, by profile; as many again may confirm what they show.
MAX_LAUNCHES = {"quick": 18, "full": 30}

#: What is launched is looked at within this share of a budget: times need the most of it.
KERNELS_SHARE = 0.1


def measure(session: PairedSession, pair: PreparedPair, launches: InterleavedLaunches, deadline: float | None) -> None:
    """Look at the kernels of both sides, run their checks and trainings, then time as long as something is undecided.

    `deadline` (monotonic) ends it. Raises LostLaunchError if too many launches are lost, or if the deadline comes
    before any launch counted and one was lost: that is no lack of time.
    """
    began = monotonic()
    kernels_end = None if deadline is None else began + KERNELS_SHARE * max(0.0, deadline - began)
    for side in pair.sides:
        side.look_at_kernels(kernels_end)
        side.diagnose()
        side.run_checks(deadline)
    for side in pair.sides:
        side.run_trainings(deadline)
    cases = len(timed_cases(pair.b.run))
    lost: LostLaunchError | None = None
    while True:
        known = {one.id: one for one in launches.times.cases}
        names = [name for name in launches.names() if not _exhausted(known.get(name))]
        decisions = {name: decide(known[name], cases, launches.times.most_launches) for name in names if name in known}
        undecided = [name for name in names if name not in decisions or decisions[name].verdict is None]
        if not undecided:
            return
        if not launches.has_time(undecided, deadline):
            if lost is not None and not launches.counted:
                raise lost
            return
        flagged = [name for name in undecided if name in decisions and decisions[name].flagged]
        if _only_time_to_confirm(launches, undecided, [decisions[name] for name in flagged], deadline):
            undecided = flagged
        try:
            launches.launch(undecided, flagged, deadline)
        except LostLaunchError as error:  # a side that dies before its first case may live the next time
            lost = error
            if launches.lost > MAX_REPEATS:
                raise
            session.warn(f"a launch was lost: {error}")


def _only_time_to_confirm(
    launches: InterleavedLaunches, undecided: Sequence[str], flagged: Sequence[Decision], deadline: float | None
) -> bool:
    """Returns True if the time left is needed to confirm flagged slowdowns: they come before new looks at others.

    A slowdown is confirmed by FIRST_LOOK launches at the earliest, and looked at again after EVERY more.
    """
    if deadline is None or not flagged or len(flagged) == len(undecided):
        return False
    missing = max(max(FIRST_LOOK - one.confirmed, EVERY) for one in flagged)
    return monotonic() + missing * launches.expected_s(undecided) > deadline


def _exhausted(case: PairedCase | None) -> bool:
    """Returns True if a case has been disturbed so often that more launches won't help."""
    if case is None:
        return False
    disturbed = sum(blocks.value(one) is None for one in case.launches)
    return disturbed >= MAX_REPEATS and 2 * disturbed > len(case.launches)
