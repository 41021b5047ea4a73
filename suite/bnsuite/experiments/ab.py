"""Two environments compared from beginning to end: A is trusted, B is judged."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from bnsuite.experiments.adaptive import MAX_LAUNCHES, measure
from bnsuite.experiments.events import Notify, Remark
from bnsuite.judge.comparison import cut_short, judge
from bnsuite.judge.verdict import Finding
from bnsuite.launch.environments import Environment, parse
from bnsuite.launch.interleaved.launches import InterleavedLaunches
from bnsuite.launch.interleaved.sides import PairedSession
from bnsuite.record import host, interleaved, pins
from bnsuite.record.errors import InputError, in_one_line
from bnsuite.record.folder import ResultsFolder
from bnsuite.record.host import HostReport
from bnsuite.record.package_index import PackageIndex
from bnsuite.record.schema import Run, RunOptions


@dataclass(frozen=True)
class ComparisonRequest:
    """Two environments to be compared, and how."""

    #: The environments as the user writes them: A is trusted, B is judged.
    a: str
    b: str
    options: tuple[RunOptions, RunOptions]
    folder: ResultsFolder
    #: The folder of images, if one was named.
    data: Path | None
    #: The folder of baselines: known deviations are pinned there.
    baselines: Path
    seed: int | None = None
    #: Seconds for the measuring, once the environments are there.
    budget_s: float | None = None
    #: A known fault for B's steps (see ``measure/fault_injection.py``).
    injected: dict[str, float] = field(default_factory=dict)
    #: The package index of releases of torch; None for that of pip's settings.
    index: PackageIndex | None = None
    #: The state of the host, to be kept beside the results.
    host: HostReport | None = None


@dataclass(frozen=True)
class ComparisonResult:
    """Both runs, the times taken by turns, and the findings of B."""

    a: Run
    b: Run
    times: interleaved.InterleavedTimes
    findings: tuple[Finding, ...]
    #: Whether the budget left anything open.
    cut_short: bool
    folder: ResultsFolder
    #: What went wrong without spoiling a measurement, a line each.
    warnings: tuple[str, ...] = ()


#: Makes a comparison; confirm, bisect and selftest are handed one.
Compare = Callable[[ComparisonRequest], ComparisonResult]


def compare(request: ComparisonRequest, notify: Notify) -> ComparisonResult:
    """Measure both environments and judge B; runs and times are written into the folder, which the caller has claimed.

    Raises InputError for an environment that can't be had; files of an earlier command stay then. What ends the
    measuring later is recorded in the runs, and what was measured is judged.
    """
    environments = parse(request.a, request.index), parse(request.b, request.index)
    known = pins.read(request.baselines)
    if not request.folder.named_by_time:
        request.folder.require_no_other_sides()
    a, b, times, warnings = _measured(request, environments, notify)
    findings = tuple(judge(a, b, times, known))
    return ComparisonResult(a, b, times, findings, cut_short(b, times, findings), request.folder, warnings)


def _of_sides(request: ComparisonRequest) -> tuple[RunOptions, RunOptions]:
    """The options of each side, with the environment that it is."""
    index = None if request.index is None else request.index.without_secrets()
    a, b = (
        options.model_copy(update={"environment": name, "index": index})
        for name, options in zip((request.a, request.b), request.options, strict=True)
    )
    return a, b


def _measured(
    request: ComparisonRequest, environments: tuple[Environment, Environment], notify: Notify
) -> tuple[Run, Run, interleaved.InterleavedTimes, tuple[str, ...]]:
    """Returns both runs, their times, and warnings."""
    folder, ended_by = request.folder, None
    with PairedSession(
        environments,
        _of_sides(request),
        folder.path,
        notify,
        data=request.data,
        injected=request.injected,
        notify=lambda text: notify(Remark(text)),
    ) as session:
        pair = session.prepare()
        if folder.clean():
            notify(Remark(f"{folder.path}: replacing the results of an earlier run"))
        host.save(request.host, folder.path)
        pair.begin()
        deadline = None if request.budget_s is None else monotonic() + request.budget_s
        launches = InterleavedLaunches(
            pair,
            folder.path,
            seed=random.SystemRandom().randrange(1 << 32) if request.seed is None else request.seed,
            most_launches=MAX_LAUNCHES[request.options[1].profile],
            budget_s=request.budget_s,
            injected=request.injected,
        )
        try:
            measure(session, pair, launches, deadline)
        except KeyboardInterrupt:
            ended_by = "interrupted"
        except Exception as error:  # noqa: BLE001  # whatever it is: what was measured before is shown
            ended_by = in_one_line(error)
            for side in pair.sides:
                side.session.keep_logs()
        with contextlib.suppress(InputError):  # what can't be written is reported with the verdicts
            pair.end(ended_by)
    return pair.a.run, pair.b.run, launches.times, tuple(session.warnings)
