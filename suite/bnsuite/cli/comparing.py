"""Two environments compared from beginning to end: what every verb does that needs a lockstep."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import TextIO

from bnsuite.cli.options import FINDINGS, REPORT
from bnsuite.cli.output import remark
from bnsuite.cli.results import forget_old
from bnsuite.judge.comparison import cut_short, judge
from bnsuite.judge.lockstep import decide, timed_cases
from bnsuite.judge.verdict import ExitStatus, Finding, Judgement, exit_status
from bnsuite.launch.child import ChildError
from bnsuite.launch.comparison import Comparison
from bnsuite.launch.environments import parse
from bnsuite.launch.lockstep import Lockstep
from bnsuite.record import lockstep, pins
from bnsuite.record.errors import InputError, one_line
from bnsuite.record.files import exists, make_folder, write_atomically
from bnsuite.record.lockstep import Compared
from bnsuite.record.pins import Pin
from bnsuite.record.schema import Asked, Run
from bnsuite.report.comparison import markdown
from bnsuite.report.progress import listener

#: A case is undecided after so many launches, by profile; as many again may confirm what they show.
MOST_LAUNCHES = {"quick": 18, "full": 30}
#: A case of which so many launches were disturbed, and most of them, is given up; and all is after more lost ones.
REPEATS = 3


@dataclass(frozen=True)
class Wanted:
    """What is to be compared, and how."""

    #: The environments as the user writes them: A is trusted, B is judged.
    a: str
    b: str
    asked: tuple[Asked, Asked]
    #: Where the results go.
    folder: Path
    #: Where images are looked for, if that was said.
    data: Path | None
    #: Where known deviations are pinned.
    baselines: Path
    seed: int | None = None
    #: Seconds for the measuring, once the environments are there.
    budget_s: float | None = None
    #: A known fault for B's steps (see ``measure/plant.py``).
    plant: dict[str, float] = field(default_factory=dict)
    strict: bool = False


@dataclass(frozen=True)
class Judged:
    """What came of it, as it lies in the folder."""

    a: Run
    b: Run
    times: lockstep.Lockstep
    findings: list[Finding]
    #: Whether the budget left anything open.
    cut_short: bool
    status: ExitStatus
    #: The findings as JSON.
    text: str
    #: Why the folder lacks some of it, if it does.
    unwritten: InputError | None = None
    #: What went wrong without spoiling a measurement.
    warnings: list[str] = field(default_factory=list)


def compare(wanted: Wanted, shown_on: TextIO) -> Judged:
    """Measure both environments, judge B, and write all of it into the folder.

    Raises InputError for an environment that can't be had; a folder that was made for it is gone then. What ends it
    later is told in the runs; what was measured before is judged.
    """
    sites = parse(wanted.a), parse(wanted.b)
    for site in sites:
        site.tell = remark
    known = pins.read(wanted.baselines)
    new = not exists(wanted.folder)
    make_folder(wanted.folder)
    shown, listen = listener(shown_on)
    ended_by: str | None = None
    with Comparison(sites, wanted.asked, wanted.folder, listen, wanted.data) as comparison:
        try:
            comparison.prepare()
        except BaseException:
            if new:
                shutil.rmtree(wanted.folder, ignore_errors=True)
            raise
        forget_old(wanted.folder, comparison=True)
        deadline = None if wanted.budget_s is None else monotonic() + wanted.budget_s
        turns = Lockstep(
            comparison.sessions,
            wanted.folder,
            comparison.listen,
            seed=random.SystemRandom().randrange(1 << 32) if wanted.seed is None else wanted.seed,
            most_launches=MOST_LAUNCHES[wanted.asked[1].profile],
            budget_s=wanted.budget_s,
            plant=wanted.plant,
        )
        try:
            with shown:
                _measure(comparison, turns, deadline)
        except KeyboardInterrupt:
            ended_by = "interrupted"
        except Exception as error:  # noqa: BLE001  # whatever it is: what was measured before is shown
            ended_by = str(error) if isinstance(error, InputError) else one_line(error)
        with contextlib.suppress(InputError):  # what can't be written is told with the verdicts
            comparison.end(ended_by)
        a, b = (session.measured for session in comparison.sessions)
    return replace(_judged(wanted, a, b, turns.times, known), warnings=comparison.all_warnings)


def _measure(comparison: Comparison, turns: Lockstep, deadline: float | None) -> None:
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


def _exhausted(compared: Compared | None) -> bool:
    """Whether a case has been disturbed so often that more launches won't help."""
    if compared is None:
        return False
    lost = sum(one.value is None for one in compared.launches)
    return lost >= REPEATS and 2 * lost > len(compared.launches)


def _judged(wanted: Wanted, a: Run, b: Run, times: lockstep.Lockstep, known: Sequence[Pin]) -> Judged:
    """What was measured, judged; the verdicts are written beside it, as far as they can be."""
    findings = judge(a, b, times, known)
    status = exit_status(findings, finished=b.finished, strict=wanted.strict)
    judgement = Judgement(schema=Judgement.SCHEMA, reference=times.a, status=status, findings=tuple(findings))
    text = judgement.model_dump_json(by_alias=True, indent=1)
    unwritten: InputError | None = None
    try:
        write_atomically(wanted.folder / FINDINGS, text + "\n")
        write_atomically(wanted.folder / REPORT, markdown(a, b, times, findings, status))
    except InputError as error:
        unwritten = error
    return Judged(a, b, times, findings, cut_short(b, times, findings), status, text, unwritten)
