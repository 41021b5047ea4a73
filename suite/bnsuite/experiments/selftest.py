"""The suite compared with itself: with nothing changed, and with known faults in B's place."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic

from bnsuite.experiments.ab import Compare, ComparisonRequest, ComparisonResult
from bnsuite.experiments.events import Notify, TrialBegan, TrialDropped, TrialEnded
from bnsuite.experiments.trials import KINDS, Plan, of_workloads, planned
from bnsuite.judge.blocks import values_by_case
from bnsuite.judge.interleaved import METHOD
from bnsuite.judge.selftest import (
    CASES,
    MIN_LAUNCHES,
    End,
    Missing,
    Repetition,
    Resampled,
    SelftestResult,
    concerned,
    end,
    rates,
    runs_with_alarms,
    status,
    surely_against,
    unchanged_launches,
)
from bnsuite.judge.verdict import Verdict
from bnsuite.launch.environments import Here
from bnsuite.launch.plan import run_options
from bnsuite.launch.process import background_load
from bnsuite.launch.queries import ask_once
from bnsuite.record import selftest as records
from bnsuite.record.folder import TRIALS, ResultsFolder
from bnsuite.record.schema import RunOptions
from bnsuite.record.selftest import Seen, Trial, Where

#: A trial begins where there is time for so many of the longest of its kind: those that a budget ends are not counted,
#: and they are the ones that were hard to decide.
ROOM = 1.5


@dataclass(frozen=True)
class SelftestRequest:
    """The trials to be made, and the folder that keeps them beside those that are there."""

    kinds: tuple[str, ...]
    trials: int
    #: Device, profile, threads and time limit of each comparison.
    options: RunOptions
    folder: ResultsFolder
    baselines: Path
    budget_s: float | None = None
    #: Whether a process of ours works on another core all the while.
    busy: bool = False
    #: The names in ids of the workloads in `options`, which are compared in the place of the built-in cases.
    workloads: tuple[str, ...] = ()

    @property
    def plans(self) -> Mapping[str, tuple[Plan, ...]]:
        """The comparisons of each kind."""
        return of_workloads(self.workloads) if self.workloads else KINDS


@dataclass
class _State:
    """The trials in the folder, and what keeps the self-test from being complete."""

    request: SelftestRequest
    where: Where
    trials: list[Trial]
    missing: list[Missing] = field(default_factory=list)
    interrupted: bool = False

    def ours(self) -> list[Trial]:
        """The trials made in the same place and way."""
        return [one for one in self.trials if one.where == self.where]

    def left(self, trials: int | None = None) -> list[tuple[str, Plan]]:
        """Returns the trials still to be made of so many of each kind, by default as many as were requested."""
        done = Counter((one.kind, one.variant) for one in self.ours() if _measured(one))
        return planned(self.request.kinds, trials or self.request.trials, done, self.request.plans)

    def counting(self) -> list[Trial]:
        """The trials that the exit status follows from: one that measured nothing counts until it is made up for."""
        missing = {(kind, plan.variant) for kind, plan in self.left()}
        return [one for one in self.ours() if _measured(one) or (one.kind, one.variant) in missing]


def _measured(trial: Trial) -> bool:
    return end(trial) is not End.NOT_MEASURED


def selftest(request: SelftestRequest, compare: Compare, notify: Notify) -> SelftestResult:
    """Make the trials that are missing, by comparisons that `compare` makes, in the folder, which the caller claimed.

    Returns the rates of all trials in the folder. Raises InputError for a folder or a device that can't be used.
    """
    folder = request.folder.path
    trials = records.load(folder)
    device, info = ask_once(Here(), request.options.device)
    where = Where(
        device=device,
        machine=records.machine_of(info),
        torch=info.packages.get("torch", "unknown"),
        method=METHOD,
        profile=request.options.profile,
        threads=request.options.threads,
        busy=request.busy,
        workloads=request.options.workloads,
    )
    state = _State(request, where, trials)
    records.repair(folder)
    try:
        if state.left():
            with background_load.busy(request.options.threads) if request.busy else nullcontext():
                _measure(state, compare, notify)
    except KeyboardInterrupt:
        state.interrupted = True
    return _conclude(state)


def _measure(state: _State, compare: Compare, notify: Notify) -> None:
    """Trial by trial, until all is measured or the budget ends."""
    request = state.request
    deadline = None if request.budget_s is None else monotonic() + request.budget_s
    todo = state.left()
    for number, (kind, plan) in enumerate(todo, start=1):
        usual = [one.wall_s for one in state.ours() if (one.kind, one.variant) == (kind, plan.variant)]
        left = None if deadline is None else deadline - monotonic()
        if left is not None and left < ROOM * max(usual, default=0.0):
            continue
        notify(TrialBegan(number, len(todo), kind, plan.variant))
        folder, seed = _new_folder(request.folder), random.SystemRandom().randrange(1 << 32)
        began, started = monotonic(), datetime.now(timezone.utc).isoformat(timespec="seconds")
        result = compare(_comparison(request, plan, folder, seed, left))
        took = monotonic() - began
        if not result.b.finished:
            state.missing.append(Missing(kind, 1, result.b.ended_by or "not measured", plan.variant, folder.path))
            if result.b.ended_by == "interrupted":
                state.interrupted = True
                return
            continue
        trial = _trial(state.where, kind, plan, result, seed=seed, started=started, wall_s=took)
        if result.cut_short and not surely_against(trial):
            shutil.rmtree(folder.path, ignore_errors=True)  # undecided for want of time is no evidence of the gate
            notify(TrialDropped(took))
            continue
        records.append(trial, request.folder.path)
        state.trials.append(trial)
        notify(_ended(trial, folder.path, took))


def _comparison(
    request: SelftestRequest, plan: Plan, folder: ResultsFolder, seed: int, budget_s: float | None
) -> ComparisonRequest:
    given = request.options
    options = run_options(
        device=given.device,
        profile=plan.profile or given.profile,
        select=plan.select,
        threads=given.threads,
        timeout_s=given.timeout_s,
        implementation=None,
        workloads=given.workloads,
    )
    faulty = f"bnsuite.cases.faulty:{plan.faulty}" if plan.faulty else None
    return ComparisonRequest(
        a=".",
        b=".",
        options=(options, options.model_copy(update={"implementation": faulty})),
        folder=folder,
        data=None,
        baselines=request.baselines,
        seed=seed,
        budget_s=budget_s,
        injected=plan.injected,
    )


def _trial(
    where: Where, kind: str, plan: Plan, result: ComparisonResult, *, seed: int, started: str, wall_s: float
) -> Trial:
    values = values_by_case(result.times)
    return Trial(
        schema=Trial.SCHEMA,
        kind=kind,
        variant=plan.variant,
        select=plan.select,
        injected=plan.injected,
        implementation=result.b.options.implementation,
        gate=plan.gate,
        seed=seed,
        most_launches=result.times.most_launches,
        where=where,
        started=started,
        bnsuite=result.b.bnsuite,
        revision=result.b.revision,
        python=result.b.environment.python,
        wall_s=wall_s,
        launches=max((len(one.screen) + len(one.confirm) for one in values), default=0),
        findings=tuple(
            Seen(
                case=one.case,
                gate=one.gate,
                verdict=one.verdict.value,
                change=one.change,
                low=one.low,
                high=one.high,
            )
            for one in result.findings
        ),
        values=values,
    )


def _new_folder(out: ResultsFolder) -> ResultsFolder:
    """A folder that no trial has had yet."""
    stem = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    names = (f"{TRIALS}/{stem}{'' if number == 0 else f'-{number}'}" for number in range(10_000))
    return next(folder for name in names if not (folder := out.within(name)).path.exists())


def _ended(trial: Trial, folder: Path, wall_s: float) -> TrialEnded:
    """The end of a trial; its folder is kept only if that is not how it must end."""
    ended, verdicts = end(trial), Counter(Verdict(one.verdict) for one in concerned(trial))
    if ended is not End.AS_REQUIRED:
        return TrialEnded(ended, verdicts, folder, wall_s)
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # others are kept there
        folder.parent.rmdir()
    return TrialEnded(ended, verdicts, None, wall_s)


def _conclude(state: _State) -> SelftestResult:
    """The rates of all that is in the folder, and the exit status."""
    why = "interrupted" if state.interrupted else "the budget ended" if state.request.budget_s else "not measured"
    short = Counter(kind for kind, _ in state.left())
    missing = (*state.missing, *(Missing(kind, count, why) for kind, count in short.items()))
    complete = not state.left(trials=1) and not state.interrupted and not state.missing
    return SelftestResult(
        trials=tuple(state.trials),
        rates=tuple(rates(state.trials)),
        resampled=() if state.interrupted else tuple(_resampled(state.trials)),
        missing=missing,
        again=tuple(_again(state.trials)),
        status=status(state.counting(), complete=complete),
    )


def _resampled(trials: Sequence[Trial]) -> Iterator[Resampled]:
    """Runs put together anew from the launches of each place that has enough of them."""
    for where in dict.fromkeys(one.where for one in trials):
        launches = unchanged_launches(trials, where)
        if len(launches) >= MIN_LAUNCHES:
            most = max(one.most_launches for one in trials if one.where == where)
            yield Resampled(where, len(launches), CASES, runs_with_alarms(launches, most=most))


def _again(trials: Sequence[Trial]) -> Iterator[Repetition]:
    """Requests that make as many trials anew: one per place, and per kinds that there are as many of."""
    for where in dict.fromkeys(one.where for one in trials):
        done = Counter((one.kind, one.variant) for one in trials if one.where == where)
        plans = of_workloads(dict.fromkeys(variant for _, variant in done)) if where.workloads else KINDS
        kinds: dict[int, list[str]] = {}
        for kind in dict.fromkeys(kind for kind, _ in done if kind in plans):
            whole = 1
            while not planned((kind,), whole + 1, done, plans):
                whole += 1
            kinds.setdefault(whole, []).append(kind)
        for count, some in kinds.items():
            yield Repetition(where, count, tuple(some))
