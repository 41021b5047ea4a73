"""A run: one environment measured, judged against what was accepted, and confirmed where that shows a regression."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bnsuite.experiments.events import Notify
from bnsuite.judge.gates import judge
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.launch.launches import Launches
from bnsuite.launch.session import Session
from bnsuite.record.errors import InputError, one_line
from bnsuite.record.folder import ResultsFolder
from bnsuite.record.reference import Reference
from bnsuite.record.schema import Run, RunOptions


@dataclass(frozen=True)
class RunRequest:
    """One environment to be measured, and how."""

    options: RunOptions
    folder: ResultsFolder
    #: The folder of images, if one was named.
    data: Path | None
    #: Returns what a run, still empty, is to be held against; InputError for baselines that can't be used.
    reference: Callable[[Run], Reference]


@dataclass(frozen=True)
class RunResult:
    """A run with its findings, and the error that ended it before its end, if one did."""

    run: Run
    reference: Reference
    findings: tuple[Finding, ...]
    folder: ResultsFolder
    #: What went wrong without spoiling a measurement, a line each.
    warnings: tuple[str, ...]
    error: Exception | None = None


def run(request: RunRequest, notify: Notify) -> RunResult:
    """Measure and judge; the run is written into the folder, which the caller has claimed, as it comes.

    Raises InputError for what can't be measured at all. What ends the measuring later is in the result, and what was
    measured is judged.
    """
    error: Exception | None = None
    with Session(request.options, request.folder.path, notify, request.data) as session:
        reference = request.reference(session.prepare())  # unusable baselines are found before the measuring
        request.folder.clean()
        session.begin()
        try:
            _measure(session, reference)
        except KeyboardInterrupt:
            session.end("interrupted")
        except Exception as caught:  # noqa: BLE001  # whatever it is: what was measured before is shown
            error = caught
            session.end(str(caught) if isinstance(caught, InputError) else one_line(caught))
        measured = session.measured
    findings = tuple(judge(measured, reference))
    return RunResult(measured, reference, findings, request.folder, tuple(session.warnings), error)


def _measure(session: Session, reference: Reference) -> None:
    session.look()
    session.follow_curves()
    launches = Launches(session)
    measured = launches.time()
    slower = {
        one.case for one in judge(measured, reference) if (one.gate, one.verdict) == ("timing", Verdict.REGRESSED)
    }
    if slower:  # a slowdown is only believed when fresh launches show it again
        launches.confirm(slower)
    session.end()
