"""The diagnosis of an implementation: its failed checks, grouped by the most basic thing that is wrong.

Each failed check belongs to the most basic stage in which one of its observations is wrong. A group's causes are the
deviations that the run recorded for its stage. A later check follows from an earlier group only if that group's stage
is wrong in the check as well, or if the check does not look at that stage and the same kind of layer fails there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from bnsuite.judge.checks import is_deviating
from bnsuite.judge.reason import ReasonCode
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.diagnosis import Deviation
from bnsuite.record.schema import CHECK_GATES, CaseResult, Observation, Run, Status

#: The most basic comes first. "raises" is an exception, "other" what belongs to no stage: memory, repeatability.
STAGES = ("raises", "shape", "value", "gradient", "statistics", "state", "mode", "export", "other")
#: Families whose checks belong to one stage, whatever they observe.
OF_FAMILY = {
    "state": "state",
    "sync-conversion": "state",
    "toggles": "mode",
    "frozen": "mode",
    "compile": "export",
    "export": "export",
    "cuda-graphs": "export",
    "peak-memory": "other",
    "saved-tensors": "other",
    "memory-leaks": "other",
}
#: Stages by the last words of an observation's name; the first that matches counts.
OF_OBSERVATION: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("shape", re.compile(r"(dtypes?|strides|format|shape)( of y)?$|^dtype of|dtypes and strides")),
    ("statistics", re.compile(r"running_(mean|var)|num_batches_tracked|counted|counter|buffers|statistics")),
    (
        "gradient",
        re.compile(r"\bd(x|y|weight|bias|conv)\b|gradient|\bgrad\b|order \d|penalty|jacobian|hessian|[vj][jv]p"),
    ),
    ("value", re.compile(r"\by\b|output|normal form|evaluation|itself|copied|places|beside")),
)
#: Labels that say which kind of layer a check is of.
KIND = ("layer", "mode", "dtype", "layout")
#: The beginning of the reason of a case that an implementation refuses (see ``cases/refusals.py``).
REFUSES = "refuses "


@dataclass(frozen=True)
class Refused:
    """A kind that the implementation refuses without declaring so."""

    what: str
    error: str
    #: The skipped cases.
    cases: int


@dataclass(frozen=True)
class Group:
    """Checks that fail for one most basic reason."""

    stage: str
    #: The mistakes that the run's diagnosis found in this stage; none if it found no explanation.
    causes: tuple[Deviation, ...]
    #: The checks whose most basic wrong observation is of this stage.
    cases: tuple[str, ...]
    #: The checks of later stages that follow from it.
    follow: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    #: The exception, if the stage is "raises".
    error: str | None = None

    @property
    def count(self) -> int:
        """How many checks fail for this reason."""
        return len(self.cases) + len(self.follow)


@dataclass(frozen=True)
class _Failed:
    """A failed check: the stages in which it is wrong and right, and its exception if it raised one."""

    result: CaseResult
    wrong: frozenset[str]
    right: frozenset[str]
    stage: str
    error: str | None = None

    @property
    def family(self) -> str:
        return self.result.case.labels.get("family", self.result.case.family)


def nothing_measured(run: Run, findings: Sequence[Finding]) -> bool:
    """Returns True if every case of an implementation was skipped: such a run is not fine."""
    return (
        run.options.implementation is not None
        and bool(findings)
        and all(one.verdict is Verdict.SKIPPED for one in findings)
    )


def refused(run: Run) -> tuple[Refused, ...]:
    """Returns the kinds that the implementation refuses, those of most cases first, also those of no case."""
    if run.options.implementation is None:
        return ()
    errors = {one.what: one.error for one in (run.diagnosis.refusals if run.diagnosis else ())}
    counts = dict.fromkeys(errors, 0)
    for result in run.cases:
        reasons = {
            one.reason
            for one in result.outcomes.values()
            if one.status is Status.SKIPPED and one.reason is not None and one.reason.startswith(REFUSES)
        }
        for what, _, error in (one.removeprefix(REFUSES).partition(": ") for one in reasons):
            errors.setdefault(what, error)
            counts[what] = counts.get(what, 0) + 1
    return tuple(Refused(what, errors[what], count) for what, count in sorted(counts.items(), key=lambda one: -one[1]))


def groups(run: Run, findings: Iterable[Finding]) -> tuple[Group, ...]:
    """Returns the groups of failed checks; none for torch's own layers.

    The most basic comes first, but exceptions come after the first group with a known cause.
    """
    if run.options.implementation is None:
        return ()
    results = {result.id: result for result in run.cases}
    failed = [
        _failed(results[one.case], one)
        for one in findings
        if one.gate in CHECK_GATES and one.case in results and _has_failed(one)
    ]
    deviations = run.diagnosis.deviations if run.diagnosis else ()
    failed = _modes_apart(failed, any(one.stage == "mode" for one in deviations))
    by_stage = {stage: [one for one in failed if one.stage == stage] for stage in STAGES}
    return _in_order(_with_followers(_grouped(by_stage, deviations), {one.result.id: one for one in failed}))


def _has_failed(one: Finding) -> bool:
    """Returns True for wrong results and exceptions, and not for a check that the run did not reach."""
    if one.verdict is Verdict.FAILED:
        return one.reason.code is not ReasonCode.RUN_ENDED
    return one.verdict is Verdict.REGRESSED


def _failed(result: CaseResult, finding: Finding) -> _Failed:
    family = result.case.labels.get("family", "")
    if finding.verdict is Verdict.FAILED:
        said = finding.reason.data.get("text") if finding.reason.code is ReasonCode.TEXT else None
        stage = OF_FAMILY.get(family, "raises")
        return _Failed(result, frozenset({stage}), frozenset(), stage, str(said or "no reason given"))
    named = _named(finding)
    wrong = [one for one in result.observations if one.what in named or is_deviating(one)]
    right = [one for one in result.observations if one not in wrong and not _is_open(one)]
    stages = frozenset(_stage_of(one.what) for one in wrong) or frozenset({"other"})
    stage = OF_FAMILY.get(family) or min(stages, key=STAGES.index)
    return _Failed(result, stages, frozenset(_stage_of(one.what) for one in right), stage)


def _named(finding: Finding) -> set[str]:
    """Returns the names of the observations that a finding calls wrong."""
    listed = finding.reason.data.get("deviations")
    records = listed if isinstance(listed, list) else []
    return {str(one["what"]) for one in records if isinstance(one, dict) and "what" in one}


def _is_open(one: Observation) -> bool:
    return one.limit is None and one.expected is None


def _stage_of(what: str) -> str:
    last = what.rpartition("/")[2]
    for text in dict.fromkeys((last, what)):
        for stage, pattern in OF_OBSERVATION:
            if pattern.search(text):
                return stage
    return "other"


def _modes_apart(failed: list[_Failed], modes_differ: bool) -> list[_Failed]:
    """Returns the failed checks; what is wrong in evaluation is a matter of the mode if training is right there.

    It is as well if the diagnosis found that the modes differ.
    """
    basic = {"value", "gradient", "statistics"}
    if not modes_differ and any(one.stage == "value" and not _of_evaluation(one) for one in failed):
        return failed
    return [replace(one, stage="mode") if one.stage in basic and _of_evaluation(one) else one for one in failed]


def _of_evaluation(one: _Failed) -> bool:
    if "mode" in one.result.case.labels:
        return one.result.case.labels["mode"] == "eval"
    wrong = [seen.what for seen in one.result.observations if is_deviating(seen)]
    return bool(wrong) and all("eval" in what for what in wrong)


def _grouped(by_stage: dict[str, list[_Failed]], deviations: Collection[Deviation]) -> list[Group]:
    """Returns a group for each stage in which a check fails, with its causes; of exceptions one for each text."""
    there = [stage for stage in STAGES if by_stage[stage]]
    causes: dict[str, list[Deviation]] = {stage: [] for stage in STAGES}
    by_error = _by_error(by_stage["raises"], deviations)
    raised = {error: _absent(error, deviations) for error in by_error}
    for one in deviations:
        if not any(one in absent for absent in raised.values()):
            causes[_home(one.stage, there)].append(one)
    found: list[Group] = []
    for stage in STAGES:
        some = by_stage[stage]
        if stage == "raises":
            for error, alike in by_error.items():
                found.append(_group(stage, raised[error], alike, error))
        elif some or causes[stage]:
            found.append(_group(stage, tuple(causes[stage]), some))
    return found


def _absent(error: str, deviations: Iterable[Deviation]) -> tuple[Deviation, ...]:
    """Returns the deviation of a layer that lacks a parameter or buffer which an exception names."""
    return tuple(
        one
        for one in deviations
        if one.code == "missing" and any(name and name in error for name in str(one.data.get("names", "")).split(", "))
    )


def _home(stage: str, there: Sequence[str]) -> str:
    """Returns the stage of the group that a deviation explains: its own, or the next one in which checks fail."""
    later = [one for one in there if STAGES.index(one) >= STAGES.index(stage) and one != "other"]
    return stage if stage in there or not later else later[0]


def _by_error(failed: Iterable[_Failed], deviations: Collection[Deviation]) -> dict[str, list[_Failed]]:
    """Returns checks by their exception, the most frequent first.

    Numbers in it don't distinguish, nor does which of the absent parts it names.
    """
    found: dict[object, list[_Failed]] = {}
    for one in failed:
        error = one.error or ""
        absent = [cause.data.get("names") for cause in _absent(error, deviations)]
        found.setdefault(str(absent) if absent else re.sub(r"\d+", "0", error), []).append(one)
    return {str(some[0].error): some for some in sorted(found.values(), key=len, reverse=True)}


def _group(stage: str, causes: tuple[Deviation, ...], failed: Sequence[_Failed], error: str | None = None) -> Group:
    families = dict.fromkeys(one.family for one in failed)
    return Group(stage, causes, tuple(one.result.id for one in failed), (), tuple(families), error)


def _with_followers(found: list[Group], failed: dict[str, _Failed]) -> tuple[Group, ...]:
    """Returns the groups, with checks of later ones that have no cause of their own moved to what they follow from."""
    basic = next((one for one in found if one.stage not in {"raises", "other"} and one.cases and one.causes), None)
    if basic is None:
        return tuple(found)
    first = [failed[name] for name in basic.cases]
    followers: list[str] = []
    rest: list[Group] = []
    for one in found:
        later = STAGES.index(one.stage) > STAGES.index(basic.stage)
        if one is basic or not later or one.causes:
            rest.append(one)
            continue
        follow = [name for name in one.cases if _follows(failed[name], basic.stage, first)]
        followers += follow
        left = [failed[name] for name in one.cases if name not in set(follow)]
        if left:
            rest.append(_group(one.stage, one.causes, left, one.error))
    return tuple(replace(one, follow=tuple(followers)) if one is basic else one for one in rest)


def _in_order(found: Sequence[Group]) -> tuple[Group, ...]:
    """Returns the groups with the first known cause in front of exceptions, and those without checks last."""
    known = (place for place, one in enumerate(found) if one.causes and one.count and one.stage != "raises")
    first = next(known, None)
    if first is None:
        return tuple(found)
    rest = [one for place, one in enumerate(found) if place != first]
    return found[first], *(one for one in rest if one.count), *(one for one in rest if not one.count)


def _follows(one: _Failed, stage: str, first: Sequence[_Failed]) -> bool:
    """Returns True if a check of a later stage fails because of what is wrong in `stage`."""
    if stage in one.wrong:
        return True
    return stage not in one.right and one.stage != "other" and any(_alike(one, other) for other in first)


def _alike(one: _Failed, other: _Failed) -> bool:
    """Returns True if two checks are of the same family or layer, and of no other mode, type or layout."""
    a, b = one.result.case.labels, other.result.case.labels
    same = [a[name] == b[name] for name in KIND if name in a and name in b]
    return all(same) and (one.family == other.family or ("layer" in a and a["layer"] == b.get("layer")))
