"""Launch after launch of a comparison, until every case is decided or the budget ends."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from bnsuite.judge.interleaved import EVERY, FIRST_LOOK, Decision, decide, timed_cases
from bnsuite.launch.interleaved.launches import InterleavedLaunches
from bnsuite.launch.interleaved.sides import Sides
from bnsuite.launch.process.stream import ChildError
from bnsuite.record.interleaved import PairedCase

#: A case is undecided after so many launches, by profile; as many again may confirm what they show.
MAX_LAUNCHES = {"quick": 18, "full": 30}
#: A case of which so many launches were disturbed, and most of them, is given up; and all is after more lost ones.
REPEATS = 3


def measure(sides: Sides, launches: InterleavedLaunches, deadline: float | None) -> None:
    """Run the checks and the trainings of both sides, then time as long as something is undecided.

    `deadline` (monotonic) ends it. Raises ChildError if too many launches are lost, or if the deadline comes before one
    of them counted and any was lost: that is no lack of time.
    """
    for session in sides.sessions:
        session.look(deadline)
    for session in sides.sessions:
        session.follow_curves(deadline)
    cases = len(timed_cases(sides.b.measured))
    lost: list[ChildError] = []
    while True:
        known = {one.id: one for one in launches.times.cases}
        names = [name for name in launches.names() if not _exhausted(known.get(name))]
        decisions = {name: decide(known[name], cases, launches.times.most_launches) for name in names if name in known}
        undecided = [name for name in names if name not in decisions or decisions[name].verdict is None]
        if not undecided:
            return
        if not launches.has_time(undecided, deadline):
            if lost and not any(name in known for name in undecided):
                raise lost[-1]
            return
        flagged = [name for name in undecided if name in decisions and decisions[name].flagged]
        if _only_time_to_confirm(launches, undecided, [decisions[name] for name in flagged], deadline):
            undecided = flagged
        try:
            launches.launch(undecided, flagged, deadline)
        except ChildError as error:  # a side that dies before its first case may live the next time
            lost.append(error)
            if len(lost) > REPEATS:
                raise
            sides.warnings.append(f"a launch was lost: {error}")


def _only_time_to_confirm(
    launches: InterleavedLaunches, undecided: Sequence[str], flagged: Sequence[Decision], deadline: float | None
) -> bool:
    """Whether the time left is needed to confirm the slowdowns that were flagged: they come before new looks at others.

    A slowdown is confirmed by FIRST_LOOK launches at the earliest, and looked at again after EVERY more.
    """
    if deadline is None or not flagged or len(flagged) == len(undecided):
        return False
    missing = max(max(FIRST_LOOK - one.confirmed, EVERY) for one in flagged)
    return monotonic() + missing * launches.expected_s(undecided) > deadline


def _exhausted(case: PairedCase | None) -> bool:
    """Whether a case has been disturbed so often that more launches won't help."""
    if case is None:
        return False
    lost = sum(one.value is None for one in case.launches)
    return lost >= REPEATS and 2 * lost > len(case.launches)
