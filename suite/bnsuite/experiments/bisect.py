"""The search for the environment that brought a change: one comparison after the other."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from bnsuite.experiments.ab import Compare, ComparisonRequest, ComparisonResult
from bnsuite.experiments.events import BisectBegan, BisectCompared, Notify
from bnsuite.judge.bisect import Assessment, BisectAnswer, BisectStep, Search, Which, assess, comparable, label
from bnsuite.judge.verdict import ExitStatus, Verdict
from bnsuite.launch.environments import EnvironmentUnavailableError
from bnsuite.record.errors import InputError, in_one_line
from bnsuite.record.files import read_text
from bnsuite.record.folder import BISECT, ResultsFolder, is_step_folder, step_folders
from bnsuite.record.schema import RunOptions
from bnsuite.record.select import expression
from bnsuite.record.store import parse


@dataclass(frozen=True)
class BisectRequest:
    """Environments as `ab` takes them, the oldest first, of which the first is good and the last bad."""

    environments: tuple[str, ...]
    #: The comparison of the ends; the results of each environment go into a folder of its own inside the folder.
    comparison: ComparisonRequest
    #: The gate whose regression is looked for; None for any gate's.
    gate: str | None


class EndedError(Exception):
    """Something that is no environment's fault ended the search; `answer` is how far it came, `cause` what it was."""

    def __init__(self, answer: BisectAnswer, cause: Exception) -> None:
        super().__init__(str(cause))
        self.answer, self.cause = answer, cause


def bisect(request: BisectRequest, compare: Compare, notify: Notify) -> BisectAnswer:
    """Look for the first bad environment, by comparisons that `compare` makes.

    Raises EndedError for what ends it once the ends are known to differ, and before that what it was.
    """
    search, wanted, gate = Search.over(request.environments), request.comparison, request.gate
    folders = step_folders(request.environments)
    bad = search.first_bad
    notify(BisectBegan(request.environments))
    ends = _compared(compare, wanted, bad, folders)
    _remove_old(wanted.folder, keep=folders[bad])
    which = comparable(ends.findings, gate)
    steps = {bad: _step(bad, ends, dict.fromkeys(which), folders)}
    notify(BisectCompared(steps[bad]))
    if steps[bad].assessment is not Assessment.BAD:
        return _answer(search, steps, request)
    worse = [one for one in ends.findings if one.verdict is Verdict.REGRESSED and (one.case, one.gate) in which]
    sizes = {(one.case, one.gate): one.change if one.gate == "timing" else None for one in worse}
    wanted = replace(wanted, options=_narrowed(wanted.options, sizes, ends))
    while (name := search.next) is not None:
        try:
            steps[name] = _step(name, _compared(compare, wanted, name, folders), sizes, folders)
        except KeyboardInterrupt:
            return _answer(search, steps, request, ended="interrupted")
        except Exception as error:
            # What is not of this environment would meet the others too.
            if not isinstance(error, EnvironmentUnavailableError) or error.environment != name:
                raise EndedError(_answer(search, steps, request, ended=in_one_line(error)), error) from error
            problem = f"not available: {error.cause}"
            steps[name] = BisectStep(
                release=label(name), assessment=Assessment.SKIPPED, problem=problem, environment=name
            )
        notify(BisectCompared(steps[name]))
        search = search.after(name, steps[name].assessment)
    return _answer(search, steps, request)


def _compared(compare: Compare, wanted: ComparisonRequest, name: str, folders: Mapping[str, str]) -> ComparisonResult:
    """The environment `name` compared with the good one; KeyboardInterrupt if that was interrupted."""
    result = compare(replace(wanted, b=name, folder=wanted.folder.within(folders[name])))
    if result.b.ended_by == "interrupted":
        raise KeyboardInterrupt
    return result


def _remove_old(folder: ResultsFolder, keep: str) -> None:
    """Remove what an earlier search left in `folder`, but for the comparison that has just been made in `keep`."""
    old = folder.path / BISECT
    if not old.exists():
        return
    with contextlib.suppress(InputError):  # if it can't be read, it is replaced all the same
        for one in parse(BisectAnswer, read_text(old, "answer"), old).steps:
            left = one.folder or one.release
            if left != keep and is_step_folder(left, one.environment or f"torch=={one.release}"):
                shutil.rmtree(folder.path / left, ignore_errors=True)
    with contextlib.suppress(OSError):
        old.unlink()


def _narrowed(
    options: tuple[RunOptions, RunOptions], which: Iterable[Which], ends: ComparisonResult
) -> tuple[RunOptions, RunOptions]:
    """The options for the environments between: only what regressed at the end, on the device that showed it."""
    select = expression(case for case, _ in which)
    a, b = (
        one.model_copy(update={"device": ends.b.device, "select": select if select is not None else one.select})
        for one in options
    )
    return a, b


def _step(
    name: str, result: ComparisonResult, sizes: Mapping[Which, float | None], folders: Mapping[str, str]
) -> BisectStep:
    assessment, clearest = assess(result.findings, sizes)
    return BisectStep(
        release=label(name),
        assessment=assessment,
        findings=tuple(clearest),
        problem=result.b.ended_by if assessment is Assessment.SKIPPED else None,
        environment=name,
        folder=folders[name],
    )


def _answer(
    search: Search, steps: Mapping[str, BisectStep], request: BisectRequest, ended: str | None = None
) -> BisectAnswer:
    """Returns the answer from the steps so far; `ended` is the reason if the search ended early."""
    end = steps[search.environments[-1]].assessment
    changed = end is Assessment.BAD
    told = end is Assessment.GOOD or (changed and not search.between)
    index = request.comparison.index
    return BisectAnswer(
        schema=BisectAnswer.SCHEMA,
        good=label(search.environments[0]),
        bad=label(search.environments[-1]),
        gate=request.gate,
        steps=tuple(steps.values()),
        last_good=label(search.last_good) if changed else None,
        first_bad=label(search.first_bad) if changed else None,
        between=tuple(map(label, search.between)) if changed else (),
        ended=ended,
        status=ExitStatus.FINE if told else ExitStatus.NOT_MEASURED,
        environments=search.environments,
        index=None if index is None else index.without_secrets(),
    )
