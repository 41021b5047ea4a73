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
from bnsuite.cli.results import claimed, forget_old, require_sides, write_verdicts
from bnsuite.cli.rounds import MAX_LAUNCHES, measure
from bnsuite.judge.comparison import cut_short, judge
from bnsuite.judge.verdict import ExitStatus, Finding, Judgement, exit_status
from bnsuite.launch.environments import Environment, parse
from bnsuite.launch.interleaved.launches import InterleavedLaunches
from bnsuite.launch.interleaved.sides import PairedSession
from bnsuite.record import interleaved, pins
from bnsuite.record.errors import InputError, NotMeasuredError, one_line
from bnsuite.record.pins import Pin
from bnsuite.record.schema import Run, RunOptions
from bnsuite.report.comparison import markdown
from bnsuite.report.progress import listener


@dataclass(frozen=True)
class ComparisonRequest:
    """What is to be compared, and how."""

    #: The environments as the user writes them: A is trusted, B is judged.
    a: str
    b: str
    options: tuple[RunOptions, RunOptions]
    #: Where the results go; by which name, if `by_time`, is told in the end.
    folder: Path
    #: Where images are looked for, if that was said.
    data: Path | None
    #: Where known deviations are pinned.
    baselines: Path
    seed: int | None = None
    #: Seconds for the measuring, once the environments are there.
    budget_s: float | None = None
    #: A known fault for B's steps (see ``measure/plant.py``).
    injected: dict[str, float] = field(default_factory=dict)
    strict: bool = False
    #: Whether the folder is named by the time, so that it must be nobody else's.
    by_time: bool = False


@dataclass(frozen=True)
class ComparisonResult:
    """What came of it, as it lies in the folder."""

    a: Run
    b: Run
    times: interleaved.InterleavedTimes
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


def compare(wanted: ComparisonRequest, shown_on: TextIO) -> ComparisonResult:
    """Measure both environments, judge B, and write all of it into the folder.

    Raises InputError for an environment that can't be had; a folder that was made for it is gone then, and what an
    earlier command left in another is as it was. What ends it later is told in the runs; what was measured before is
    judged.
    """
    sites = parse(wanted.a), parse(wanted.b)
    known = pins.read(wanted.baselines)
    if not wanted.by_time:
        require_sides(wanted.folder)
    with claimed(wanted.folder, by_time=wanted.by_time) as folder:
        return _compared(replace(wanted, folder=folder), sites, known, shown_on)


def _compared(
    wanted: ComparisonRequest, sites: tuple[Environment, Environment], known: Sequence[Pin], shown_on: TextIO
) -> ComparisonResult:
    """The comparison of two places, with the folder its own."""
    shown, listen = listener(shown_on)
    ended_by: str | None = None
    with PairedSession(sites, wanted.options, wanted.folder, listen, data=wanted.data, notify=remark) as comparison:
        pair = comparison.prepare()
        forget_old(wanted.folder)
        pair.begin()
        deadline = None if wanted.budget_s is None else monotonic() + wanted.budget_s
        turns = InterleavedLaunches(
            pair,
            wanted.folder,
            seed=random.SystemRandom().randrange(1 << 32) if wanted.seed is None else wanted.seed,
            most_launches=MAX_LAUNCHES[wanted.options[1].profile],
            budget_s=wanted.budget_s,
            injected=wanted.injected,
        )
        try:
            with shown:
                measure(comparison, pair, turns, deadline)
        except KeyboardInterrupt:
            ended_by = "interrupted"
        except Exception as error:  # noqa: BLE001  # whatever it is: what was measured before is shown
            ended_by = str(error) if isinstance(error, InputError | NotMeasuredError) else one_line(error)
            for side in pair.sides:
                side.session.keep_logs()
        with contextlib.suppress(InputError):  # what can't be written is told with the verdicts
            pair.end(ended_by)
    return replace(_judged(wanted, pair.a.run, pair.b.run, turns.times, known), warnings=comparison.warnings)


def _judged(
    wanted: ComparisonRequest, a: Run, b: Run, times: interleaved.InterleavedTimes, known: Sequence[Pin]
) -> ComparisonResult:
    """What was measured, judged; the verdicts are written beside it, as far as they can be."""
    judgement = verdicts(a, b, times, known, strict=wanted.strict)
    findings, status = list(judgement.findings), judgement.status
    text = judgement.model_dump_json(by_alias=True, indent=1)
    unwritten = write_verdicts(wanted.folder, text, markdown(a, b, times, findings, status))
    open_ = cut_short(b, times, findings)
    return ComparisonResult(a, b, times, findings, open_, status, text, wanted.folder, unwritten)


def verdicts(
    a: Run, b: Run, times: interleaved.InterleavedTimes, known: Sequence[Pin], *, strict: bool = False
) -> Judgement:
    """What is said of B by what was measured of both, however far that came."""
    findings = judge(a, b, times, known)
    status = exit_status(findings, finished=b.finished, strict=strict)
    return Judgement(schema=Judgement.SCHEMA, reference=times.a, status=status, findings=tuple(findings))
