"""Accepting runs as the baseline: the changes, and the files to write."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bnsuite.record.baselines import (
    CurveLine,
    Origin,
    TimingFile,
    curve_path,
    lines_by_case,
    read_timing,
    timing_path,
)
from bnsuite.record.durations import cut_short, seeds_of
from bnsuite.record.errors import InputError
from bnsuite.record.files import BASELINES, make_folder, write_together
from bnsuite.record.key import MachineKey, differences, machine_key
from bnsuite.record.lines import LINES, Kind, L, kind_of_device, torch_of
from bnsuite.record.reference import (
    CurveReference,
    TimingReference,
    curve_reference,
    has_timing,
    timing_reference,
)
from bnsuite.record.schema import CaseResult, Curve, Outcome, Run, Status


@dataclass(frozen=True)
class Change:
    """The change of one case by accepting it."""

    case: str
    gate: str
    what: str
    #: There was a measurement to accept.
    measured: bool = True


@dataclass(frozen=True)
class _AcceptedRun:
    """A run, and its cases and gates that pass against the baseline."""

    run: Run
    passing: frozenset[tuple[str, str]]


#: The kinds of references, each of which can be accepted by itself.
WHAT = ("timing", *LINES, "convergence")


def accept(
    runs: list[Run],
    folder: Path,
    *,
    what: Collection[str] = WHAT,
    keep: Collection[tuple[int, str, str]] = (),
    spoiled: Collection[tuple[int, str]] = (),
) -> tuple[list[Change], dict[Path, str]]:
    """Returns the changes by accepting `runs`, of one machine and torch, and the texts of the files to write.

    `what` is some of WHAT. `keep` has the place of a run, a case and a gate that pass against the baseline, which then
    stays as it is. The times in `spoiled`, the place of a run and a case, are not taken. Timings are always new, and
    are taken from all runs together, so that the baseline knows how far the machine drifts from run to run.

    Raises InputError if a run did not come to its end or judged an implementation of a user's, if the runs don't
    belong together or hold nothing, or if curves of fewer seeds would replace those of more.
    """
    runs = [_complete(run) for run in runs]
    timed = [_without(run, {case for there, case in spoiled if there == place}) for place, run in enumerate(runs)]
    timed = [run for place, run in enumerate(timed) if runs[place] not in runs[:place]]
    each = [
        _AcceptedRun(run, frozenset((case, gate) for there, case, gate in keep if there == place))
        for place, run in enumerate(runs)
        if run not in runs[:place]
    ]
    key = _key([one.run for one in each])
    changes: list[Change] = []
    files: dict[Path, str] = {}
    if "timing" in what:
        files |= _accept_timing(timed, folder, key, changes)
    for name, kind in LINES.items():
        if name in what:
            files |= _accept_lines(kind, each, folder, changes)
    if "convergence" in what:
        files |= _accept_curves(each, folder, changes)
    if not changes:
        raise InputError("the run holds no measurement to accept; measure again")
    return changes, files


def _key(runs: list[Run]) -> MachineKey:
    """Returns the machine of `runs`; raises InputError if they can't be accepted, or not together."""
    key = machine_key(runs[0])
    for run in runs:
        if not run.finished:
            raise InputError(f"the run of {run.started} did not come to its end; accept finished runs only")
        if run.environment.rehearsal:
            raise InputError(
                f"the run of {run.started} was rehearsed on a CUDA that is a name: it holds no measurement of a GPU; "
                "measure on a GPU"
            )
        apart = differences(machine_key(run), key)
        if apart:
            raise InputError(f"the runs are of different machines ({'; '.join(apart)}); accept one machine's at a time")
        apart = [f"{name} {ours} and {its}" for name, ours, its in _builds(runs[0], run) if ours != its]
        if apart:
            raise InputError(f"the runs are of different releases ({'; '.join(apart)}); accept one release's at a time")
        if run.options.replaces:
            judged = ", ".join(filter(None, [run.options.implementation, *run.options.functions.values()]))
            raise InputError(f"the run of {run.started} measured {judged}; baselines are of torch's own layers")
    return key


def require_acceptable(runs: list[Run]) -> None:
    """Raises InputError unless all of `runs` can be accepted, together: finished, of one machine, of torch's layers."""
    _key(runs)


def _without(run: Run, cases: Collection[str]) -> Run:
    """Returns `run` without the times of `cases`."""
    kept = tuple(one.model_copy(update={"timings": ()}) if one.id in cases else one for one in run.cases)
    return run.model_copy(update={"cases": kept})


def _complete(run: Run) -> Run:
    """Returns a run that its budget ended without what it measured in part: too few launches, or some seeds."""
    if not cut_short(run):
        return run
    cases = []
    for one in run.cases:
        partly = set()
        if len(one.undisturbed) <= run.options.launches // 2:
            partly |= {"timing", "memory"}
        if len(one.curves) < len(seeds_of(run.options, one.case)):
            partly.add("convergence")
        pending = {gate: Outcome(status=Status.PENDING) for gate in partly & one.outcomes.keys()}
        kept = {"timings": ()} if "timing" in partly else {}
        kept |= {"curves": ()} if "convergence" in partly else {}
        cases.append(one.model_copy(update={**kept, "outcomes": {**one.outcomes, **pending}}))
    return run.model_copy(update={"cases": tuple(cases)})


def _builds(a: Run, b: Run) -> list[tuple[str, object, object]]:
    """Returns the names of a release's parts, with the versions of both runs."""
    ours, its = a.environment, b.environment
    return [
        ("torch", ours.packages.get("torch"), its.packages.get("torch")),
        ("CUDA", ours.cuda, its.cuda),
        ("cuDNN", ours.cudnn, its.cudnn),
    ]


def _accept_lines(kind: Kind[L], runs: list[_AcceptedRun], folder: Path, changes: list[Change]) -> dict[Path, str]:
    passing = [{case for case, gate in one.passing if gate in kind.gates} for one in runs]
    outcomes, files = kind.accept([(one.run, names) for one, names in zip(runs, passing, strict=True)], folder)
    changes += [Change(name, kind.name, what) for name, what in outcomes.items()]
    return files


def write(files: dict[Path, str]) -> None:
    """Writes accepted files, all of them or, if one can't be written, none."""
    for path in files:
        make_folder(path.parent, BASELINES)
    write_together(files, BASELINES)


def _measured(result: CaseResult, gate: str) -> bool:
    return gate in result.outcomes and result.outcomes[gate].status is Status.MEASURED


def _accept_timing(runs: list[Run], folder: Path, key: MachineKey, changes: list[Change]) -> dict[Path, str]:
    newest: dict[str, CaseResult] = {}
    timed: dict[str, None] = {}
    for result in (result for run in runs for result in run.cases if "timing" in result.outcomes):
        if result.case.kind == "ratio":  # a ratio has a bound, and needs no baseline
            continue
        timed[result.id] = None
        before = newest.get(result.id)
        if has_timing(result) and (before is None or result.case.version >= before.case.version):
            newest[result.id] = result
    new = {name: timing_reference(result, runs) for name, result in newest.items()}
    why = "left out: broken, or not measured undisturbed"
    changes += [Change(name, "timing", why, measured=False) for name in timed if name not in new]
    if not new:
        return {}
    stored = read_timing(folder, key)
    cases = {one.id: one for one in stored.cases} if stored else {}
    changes += [Change(name, "timing", _timing_change(one, cases.get(name))) for name, one in new.items()]
    file = TimingFile(
        schema=TimingFile.SCHEMA, machine=key, origin=_origin(runs[-1]), cases=tuple((cases | new).values())
    )
    plain = file.model_dump(mode="json", by_alias=True)
    lines = ",\n".join("  " + json.dumps(case) for case in plain.pop("cases"))
    head = json.dumps(plain, indent=1).removesuffix("\n}")
    return {timing_path(folder, key): f'{head},\n "cases": [\n{lines}\n ]\n}}\n'}


def _timing_change(new: TimingReference, old: TimingReference | None) -> str:
    """Returns the change in words, such as "replaced: 9 launches of 3 runs (was 25 of 6), +1.2 % as measured"."""
    if old is None:
        return f"new: {_size(new)}"
    if old.version != new.version:
        return f"version {new.version} instead of {old.version}: {_size(new)}"
    after, before = (median(launch.median_s for one in side.runs for launch in one) for side in (new, old))
    return f"replaced: {_size(new)} (was {_size(old)}), {100 * (after / before - 1):+.1f} % as measured"


def _size(one: TimingReference) -> str:
    return f"{_count(sum(map(len, one.runs)), 'launch', 'launches')} of {_count(len(one.runs), 'run')}"


def _accept_curves(runs: list[_AcceptedRun], folder: Path, changes: list[Change]) -> dict[Path, str]:
    new: dict[str, tuple[CurveReference, _AcceptedRun]] = {}
    for one in runs:
        for result in one.run.cases:
            if not _measured(result, "convergence"):
                continue
            before = new[result.id][0] if result.id in new else None
            if before is None or (result.case.version, len(result.curves)) > (before.version, len(before.curves)):
                new[result.id] = curve_reference(result, one.run), one
    files = {}
    for workload in sorted({taken.workload for taken, _ in new.values()}):
        path = curve_path(folder, workload)
        lines = dict(lines_by_case(path))
        for name, (taken, one) in new.items():
            if taken.workload != workload:
                continue
            what, changed = _curve_change(taken, lines.get(name, []), (name, "convergence") in one.passing)
            changes.append(Change(name, "convergence", what))
            if changed:
                lines[name] = [_curve_line(taken, curve, one.run) for curve in taken.curves]
                files[path] = ""
        if path in files:
            files[path] = "".join(
                line.model_dump_json(by_alias=True) + "\n" for some in lines.values() for line in some
            )
    return files


def _curve_change(one: CurveReference, old: list[CurveLine], keep: bool) -> tuple[str, bool]:
    """Returns the change of a case's accepted curves in words, and if it is one."""
    if not old:
        return f"new: {_seeds(one)}", True
    if old[0].version != one.version:
        return f"version {one.version} instead of {old[0].version}: {_seeds(one)}", True
    accepted = {line.curve.seed: line.curve for line in old}
    if all(accepted.get(curve.seed) == curve for curve in one.curves):
        return "unchanged", False
    if keep:
        return "kept: the run passes against it", False
    if len(one.curves) < len(old):
        raise InputError(
            f"{one.id}: the run has {_seeds(one)}, the baseline {len(old)}; "
            "accept a run of --profile full, or its times alone with --only timing"
        )
    return f"replaced: {_seeds(one)}", True


def _seeds(one: CurveReference) -> str:
    return _count(len(one.curves), "seed")


def _count(number: int, one: str, several: str | None = None) -> str:
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def _curve_line(one: CurveReference, curve: Curve, run: Run) -> CurveLine:
    return CurveLine(
        schema=CurveLine.SCHEMA,
        id=one.id,
        version=one.version,
        profiles=one.profiles,
        device=kind_of_device(run),
        torch=torch_of(run),
        curve=curve,
    )


def _origin(run: Run) -> Origin:
    environment = run.environment
    return Origin(
        bnsuite=run.bnsuite,
        revision=run.revision,
        started=run.started,
        python=environment.python,
        packages=environment.packages,
        cuda=environment.cuda,
        cudnn=environment.cudnn,
        environment=environment,
    )
