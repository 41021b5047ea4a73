"""The search for the release of torch that brought a change: one comparison after the other."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from bnsuite.experiments.ab import Compare, ComparisonRequest, ComparisonResult
from bnsuite.experiments.events import BisectBegan, BisectCompared, Notify
from bnsuite.judge.bisect import Assessment, BisectAnswer, BisectStep, Search, Which, assess, comparable
from bnsuite.judge.verdict import ExitStatus, Verdict
from bnsuite.launch.environments import EnvironmentUnavailableError
from bnsuite.launch.environments.release import VERSION
from bnsuite.record.errors import InputError, in_one_line
from bnsuite.record.files import read_text
from bnsuite.record.folder import BISECT, ResultsFolder
from bnsuite.record.schema import RunOptions
from bnsuite.record.select import expression
from bnsuite.record.store import parse


@dataclass(frozen=True)
class BisectRequest:
    """Releases, the oldest first, of which the first is good and the last bad."""

    releases: tuple[str, ...]
    #: The comparison of the ends; a release's results go into a folder of its name inside the folder.
    comparison: ComparisonRequest
    #: The gate whose regression is looked for; None for any gate's.
    gate: str | None


class EndedError(Exception):
    """Something that is no fault of a release ended the search; `answer` is how far it came, `cause` what it was."""

    def __init__(self, answer: BisectAnswer, cause: Exception) -> None:
        super().__init__(str(cause))
        self.answer, self.cause = answer, cause


def bisect(request: BisectRequest, compare: Compare, notify: Notify) -> BisectAnswer:
    """Look for the first bad release, by comparisons that `compare` makes.

    Raises EndedError for what ends it once the ends are known to differ, and before that what it was.
    """
    search, wanted, gate = Search.over(request.releases), request.comparison, request.gate
    bad = search.first_bad
    notify(BisectBegan(len(request.releases), search.last_good, bad))
    ends = _compared(compare, wanted, bad)
    _remove_old(wanted.folder, keep=bad)
    which = comparable(ends.findings, gate)
    steps = {bad: _step(bad, ends, dict.fromkeys(which))}
    notify(BisectCompared(steps[bad]))
    if steps[bad].assessment is not Assessment.BAD:
        return _answer(search, steps, gate)
    worse = [one for one in ends.findings if one.verdict is Verdict.REGRESSED and (one.case, one.gate) in which]
    sizes = {(one.case, one.gate): one.change if one.gate == "timing" else None for one in worse}
    wanted = replace(wanted, options=_narrowed(wanted.options, sizes, ends))
    while (release := search.next) is not None:
        try:
            steps[release] = _step(release, _compared(compare, wanted, release), sizes)
        except KeyboardInterrupt:
            return _answer(search, steps, gate, ended="interrupted")
        except Exception as error:
            # What is not of this release would meet the others too.
            if not isinstance(error, EnvironmentUnavailableError) or error.environment != f"torch=={release}":
                raise EndedError(_answer(search, steps, gate, ended=in_one_line(error)), error) from error
            problem = f"not available: {error.cause}"
            steps[release] = BisectStep(release=release, assessment=Assessment.SKIPPED, problem=problem)
        notify(BisectCompared(steps[release]))
        search = search.after(release, steps[release].assessment)
    return _answer(search, steps, gate)


def _compared(compare: Compare, wanted: ComparisonRequest, release: str) -> ComparisonResult:
    """`release` compared with the good one; KeyboardInterrupt if that was interrupted."""
    result = compare(replace(wanted, b=f"torch=={release}", folder=wanted.folder.within(release)))
    if result.b.ended_by == "interrupted":
        raise KeyboardInterrupt
    return result


def _remove_old(folder: ResultsFolder, keep: str) -> None:
    """Remove what an earlier search left in `folder`, but for the comparison that has just been made."""
    old = folder.path / BISECT
    if not old.exists():
        return
    with contextlib.suppress(InputError):  # if it can't be read, it is replaced all the same
        for one in parse(BisectAnswer, read_text(old, "answer"), old).steps:
            if one.release != keep and VERSION.fullmatch(one.release):
                shutil.rmtree(folder.path / one.release, ignore_errors=True)
    with contextlib.suppress(OSError):
        old.unlink()


def _narrowed(
    options: tuple[RunOptions, RunOptions], which: Iterable[Which], ends: ComparisonResult
) -> tuple[RunOptions, RunOptions]:
    """The options for the releases between: only what regressed at the end, on the device that showed it."""
    select = expression(case for case, _ in which)
    a, b = (
        one.model_copy(update={"device": ends.b.device, "select": select if select is not None else one.select})
        for one in options
    )
    return a, b


def _step(release: str, result: ComparisonResult, sizes: Mapping[Which, float | None]) -> BisectStep:
    assessment, clearest = assess(result.findings, sizes)
    problem = result.b.ended_by if assessment is Assessment.SKIPPED else None
    return BisectStep(release=release, assessment=assessment, findings=tuple(clearest), problem=problem)


def _answer(
    search: Search, steps: Mapping[str, BisectStep], gate: str | None, ended: str | None = None
) -> BisectAnswer:
    """Returns the answer from the steps so far; `ended` is the reason if the search ended early."""
    end = steps[search.releases[-1]].assessment
    changed = end is Assessment.BAD
    told = end is Assessment.GOOD or (changed and not search.between)
    return BisectAnswer(
        schema=BisectAnswer.SCHEMA,
        good=search.releases[0],
        bad=search.releases[-1],
        gate=gate,
        steps=tuple(steps.values()),
        last_good=search.last_good if changed else None,
        first_bad=search.first_bad if changed else None,
        between=search.between if changed else (),
        ended=ended,
        status=ExitStatus.FINE if told else ExitStatus.NOT_MEASURED,
    )
