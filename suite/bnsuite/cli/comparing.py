"""Two environments compared from beginning to end: what every verb does that needs a lockstep."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import TextIO

from bnsuite.cli.output import remark
from bnsuite.cli.results import claimed, forget_old, make_sure_of_sides, write_verdicts
from bnsuite.cli.rounds import MOST_LAUNCHES, measure
from bnsuite.judge.comparison import cut_short, judge
from bnsuite.judge.verdict import ExitStatus, Finding, Judgement, exit_status
from bnsuite.launch.comparison import Comparison
from bnsuite.launch.environments import Site, parse
from bnsuite.launch.lockstep import Lockstep
from bnsuite.record import lockstep, pins
from bnsuite.record.errors import InputError, NotMeasuredError, one_line
from bnsuite.record.pins import Pin
from bnsuite.record.schema import Asked, Run
from bnsuite.report.comparison import markdown
from bnsuite.report.progress import listener


@dataclass(frozen=True)
class Wanted:
    """What is to be compared, and how."""

    #: The environments as the user writes them: A is trusted, B is judged.
    a: str
    b: str
    asked: tuple[Asked, Asked]
    #: Where the results go; by which name, if `by_time`, is told in the end.
    folder: Path
    #: Where images are looked for, if that was said.
    data: Path | None
    #: Where known deviations are pinned.
    baselines: Path
    seed: int | None = None
    #: Seconds for the measuring, once the environments are there.
    budget_s: float | None = None
    #: A known fault for B's steps (see ``measure/fault_injection.py``).
    plant: dict[str, float] = field(default_factory=dict)
    strict: bool = False
    #: Whether the folder is named by the time, so that it must be nobody else's.
    by_time: bool = False


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
    #: Where it lies.
    folder: Path
    #: Why the folder lacks some of it, if it does.
    unwritten: InputError | None = None
    #: What went wrong without spoiling a measurement.
    warnings: list[str] = field(default_factory=list)


def compare(wanted: Wanted, shown_on: TextIO) -> Judged:
    """Measure both environments, judge B, and write all of it into the folder.

    Raises InputError for an environment that can't be had; a folder that was made for it is gone then, and what an
    earlier command left in another is as it was. What ends it later is told in the runs; what was measured before is
    judged.
    """
    sites = parse(wanted.a), parse(wanted.b)
    for site in sites:
        site.tell = remark
    known = pins.read(wanted.baselines)
    if not wanted.by_time:
        make_sure_of_sides(wanted.folder)
    with claimed(wanted.folder, by_time=wanted.by_time) as folder:
        return _compared(replace(wanted, folder=folder), sites, known, shown_on)


def _compared(wanted: Wanted, sites: tuple[Site, Site], known: Sequence[Pin], shown_on: TextIO) -> Judged:
    """The comparison of two places, with the folder its own."""
    shown, listen = listener(shown_on)
    ended_by: str | None = None
    with Comparison(sites, wanted.asked, wanted.folder, listen, wanted.data) as comparison:
        comparison.prepare()
        forget_old(wanted.folder)
        comparison.begin()
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
                measure(comparison, turns, deadline)
        except KeyboardInterrupt:
            ended_by = "interrupted"
        except Exception as error:  # noqa: BLE001  # whatever it is: what was measured before is shown
            ended_by = str(error) if isinstance(error, InputError | NotMeasuredError) else one_line(error)
            for session in comparison.sessions:
                session.trouble()
        with contextlib.suppress(InputError):  # what can't be written is told with the verdicts
            comparison.end(ended_by)
        a, b = (session.measured for session in comparison.sessions)
    return replace(_judged(wanted, a, b, turns.times, known), warnings=comparison.all_warnings)


def _judged(wanted: Wanted, a: Run, b: Run, times: lockstep.Lockstep, known: Sequence[Pin]) -> Judged:
    """What was measured, judged; the verdicts are written beside it, as far as they can be."""
    judgement = verdicts(a, b, times, known, strict=wanted.strict)
    findings, status = list(judgement.findings), judgement.status
    text = judgement.model_dump_json(by_alias=True, indent=1)
    unwritten = write_verdicts(wanted.folder, text, markdown(a, b, times, findings, status))
    open_ = cut_short(b, times, findings)
    return Judged(a, b, times, findings, open_, status, text, wanted.folder, unwritten)


def verdicts(a: Run, b: Run, times: lockstep.Lockstep, known: Sequence[Pin], *, strict: bool = False) -> Judgement:
    """What is said of B by what was measured of both, however far that came."""
    findings = judge(a, b, times, known)
    status = exit_status(findings, finished=b.finished, strict=strict)
    return Judgement(schema=Judgement.SCHEMA, reference=times.a, status=status, findings=tuple(findings))
