"""How a comparison goes on: checks, curves, then launch after launch until all is decided or the budget ends."""

from __future__ import annotations

from bnsuite.judge import blocks
from bnsuite.judge.interleaved import decide, timed_cases
from bnsuite.launch.interleaved.launches import InterleavedLaunches, LostLaunchError
from bnsuite.launch.interleaved.sides import PairedSession, PreparedPair
from bnsuite.launch.plan import MAX_REPEATS
from bnsuite.record.interleaved import PairedCase

#: A case is undecided after so many launches, by profile; as many again may confirm what they show.
MAX_LAUNCHES = {"quick": 18, "full": 30}


def measure(comparison: PairedSession, pair: PreparedPair, turns: InterleavedLaunches, deadline: float | None) -> None:
    """Look, follow, then time as long as something is undecided and the budget lasts."""
    for side in pair.sides:
        side.run_checks(deadline)
    for side in pair.sides:
        side.run_trainings(deadline)
    most = turns.times.most_launches
    cases = len(timed_cases(pair.b.run))
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
        except LostLaunchError as error:  # a side that dies before its first case may live the next time
            if turns.lost > MAX_REPEATS:
                raise
            comparison.warn(f"a launch was lost: {error}")


def _exhausted(compared: PairedCase | None) -> bool:
    """Whether a case has been disturbed so often that more launches won't help; as many lost launches end all."""
    if compared is None:
        return False
    lost = sum(blocks.value(one) is None for one in compared.launches)
    return lost >= MAX_REPEATS and 2 * lost > len(compared.launches)
