"""How a comparison goes on: checks, curves, then launch after launch until all is decided or the budget ends."""

from __future__ import annotations

from bnsuite.judge.interleaved import decide, timed_cases
from bnsuite.launch.interleaved.launches import InterleavedLaunches
from bnsuite.launch.interleaved.sides import Comparison
from bnsuite.launch.process.child import ChildError
from bnsuite.record.interleaved import PairedCase

#: A case is undecided after so many launches, by profile; as many again may confirm what they show.
MAX_LAUNCHES = {"quick": 18, "full": 30}
#: A case of which so many launches were disturbed, and most of them, is given up; and all is after more lost ones.
REPEATS = 3


def measure(comparison: Comparison, turns: InterleavedLaunches, deadline: float | None) -> None:
    """Look, follow, then time as long as something is undecided and the budget lasts."""
    for session in comparison.sessions:
        session.look(deadline)
    for session in comparison.sessions:
        session.follow_curves(deadline)
    most = turns.times.most_launches
    cases = len(timed_cases(comparison.b.measured))
    spoiled = 0
    while True:
        known = {one.id: one for one in turns.times.cases}
        names = [name for name in turns.names() if not _exhausted(known.get(name))]
        decisions = {name: decide(known[name], cases, most) for name in names if name in known}
        undecided = [name for name in names if name not in decisions or decisions[name].verdict is None]
        if not undecided or not turns.has_time(undecided, deadline):
            return
        try:
            flagged = [name for name in undecided if name in decisions and decisions[name].flagged]
            turns.launch(undecided, flagged, deadline)
        except ChildError as error:  # a side that dies before its first case may live the next time
            spoiled += 1
            if spoiled > REPEATS:
                raise
            comparison.warnings.append(f"a launch was lost: {error}")


def _exhausted(compared: PairedCase | None) -> bool:
    """Whether a case has been disturbed so often that more launches won't help."""
    if compared is None:
        return False
    lost = sum(one.value is None for one in compared.launches)
    return lost >= REPEATS and 2 * lost > len(compared.launches)
