"""A run: one environment measured, judged against what was accepted, and confirmed where that shows a regression."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bnsuite.experiments.events import Notify, Planned, Remark
from bnsuite.experiments.known import known
from bnsuite.experiments.stages import Stages
from bnsuite.judge.gates import judge
from bnsuite.judge.verdict import Finding
from bnsuite.launch.environments import EnvironmentUnavailableError, parse
from bnsuite.launch.prepared import PreparedSession
from bnsuite.launch.progress import ProgressCounter
from bnsuite.launch.session import Session
from bnsuite.record import host
from bnsuite.record.errors import NotMeasuredError, in_one_line
from bnsuite.record.folder import ResultsFolder
from bnsuite.record.host import HostReport
from bnsuite.record.planned import Estimate
from bnsuite.record.reference import Reference
from bnsuite.record.schema import PlannedCase, Run, RunOptions

#: Why a run that takes times has no curves.
TIMING_ONLY = "only times are taken in this run"
#: What ended a run that SIGTERM or Ctrl-C ended.
INTERRUPTED = "interrupted"


def every_case(_: PlannedCase) -> bool:
    """Accepts every case."""
    return True


@dataclass(frozen=True)
class RunRequest:
    """One environment to be measured, and how."""

    options: RunOptions
    folder: ResultsFolder
    #: The folder of images, if one was named.
    data: Path | None
    #: Returns what a run, still empty, is to be held against; InputError for baselines that can't be used.
    reference: Callable[[Run], Reference]
    #: The state of the host, to be kept beside the results.
    host: HostReport | None = None
    #: A known fault of all timed cases (see ``measure/fault_injection.py``).
    injected: dict[str, float] = field(default_factory=dict)
    #: The cases that are measured, of those that the options choose.
    accepts: Callable[[PlannedCase], bool] = every_case
    #: Only times are taken: checks and curves are of another run of the same device.
    timing_only: bool = False


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
    with _session(request, notify) as session:
        prepared = session.prepare(request.accepts)
        reference = request.reference(prepared.run)  # unusable baselines are found before the measuring
        stages = _stages(request, prepared, reference)
        if request.folder.clean():
            notify(Remark(f"{request.folder.path}: replacing the results of an earlier run"))
        host.save(request.host, request.folder.path)
        prepared.begin()
        notify(Planned(stages.estimate, request.options.budget_s))
        try:
            ended_by = stages.measure(timing_only=request.timing_only)
            if request.timing_only:
                for gate in ("convergence", "kernels"):
                    for name in prepared.recorder.ids(gate):
                        prepared.recorder.skip(name, TIMING_ONLY, gate)
            prepared.end(ended_by)
        except KeyboardInterrupt:
            prepared.end(INTERRUPTED)
        except Exception as caught:  # noqa: BLE001  # whatever it is: what was measured before is shown
            gone = isinstance(caught, EnvironmentUnavailableError)  # it was there, so nothing was named wrong
            error = NotMeasuredError(str(caught)) if gone else caught
            prepared.end(in_one_line(error))
    findings = tuple(judge(prepared.run, reference))
    return RunResult(prepared.run, reference, findings, request.folder, tuple(session.warnings), error)


def planned(request: RunRequest, notify: Notify) -> Estimate:
    """Returns the plan of a run that is not made: the environment is asked for its cases, and nothing is written."""
    with _session(request, notify) as session:
        prepared = session.prepare(request.accepts)
        return _stages(request, prepared, request.reference(prepared.run)).estimate


def _session(request: RunRequest, notify: Notify) -> Session:
    return Session(
        request.options,
        request.folder.path,
        ProgressCounter(notify),
        request.data,
        parse(request.options.environment),
        notify=lambda text: notify(Remark(text)),
        injected=request.injected,
    )


def _stages(request: RunRequest, prepared: PreparedSession, reference: Reference) -> Stages:
    """Returns the stages of a run, planned by what an earlier run in the folder, or the latest one, has recorded."""
    return Stages(prepared, reference, known(prepared.run, reference, (request.folder.path, request.folder.latest)))
