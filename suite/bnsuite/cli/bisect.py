"""``bnsuite bisect``: which release of torch brought a change."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from bnsuite.cli.ab import budget
from bnsuite.cli.options import add_measuring, asked_of, baselines_folder, data_folder, results_folder
from bnsuite.cli.output import remark, say
from bnsuite.cli.results import claimed
from bnsuite.launch.plan import NOT_COMPARED
from bnsuite.record.errors import InputError, one_line

if TYPE_CHECKING:
    from bnsuite.cli.comparing import ComparisonRequest, ComparisonResult
    from bnsuite.judge.bisect import Answer, Search, Seen, Which
    from bnsuite.judge.verdict import Finding
    from bnsuite.record.schema import PlannedCase, RunOptions

    Compare = Callable[[ComparisonRequest, TextIO], ComparisonResult]

SUMMARY = "which release of torch brought a change: compare releases in lockstep"

#: As in ``judge/gates.py``, which takes half a second to import.
GATES = ("timing", "memory", "numerics", "behaviour", "convergence")
#: In the folder of results, beside a folder a release.
ANSWER = "bisect.json"


class EndedError(Exception):
    """Something that is no fault of a release ended the search: how far it came, and what it was."""

    def __init__(self, answer: Answer, cause: Exception) -> None:
        super().__init__(str(cause))
        self.answer, self.cause = answer, cause


def add_options(parser: argparse.ArgumentParser) -> None:
    release = "torch==X.Y.Z"
    parser.add_argument("--good", required=True, metavar=release, help="a release that is trusted")
    parser.add_argument("--bad", required=True, metavar=release, help="a newer release that shows the change")
    parser.add_argument("--gate", choices=GATES, help="what must have regressed (default: anything)")
    parser.add_argument(
        "--budget", type=budget, metavar="TIME", help="end each comparison after 90s, 10m or 2h, decided or not"
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="which side comes first follows from it (default: chance)"
    )
    add_measuring(parser, verdicts=False)
    parser.add_argument("--json", action="store_true", help="print the answer as JSON, its steps to stderr")


def main(options: argparse.Namespace) -> int:
    from bnsuite.cli.comparing import ComparisonRequest, compare
    from bnsuite.cli.conclude import require_baselines
    from bnsuite.launch.environments import parse
    from bnsuite.launch.environments.package_index import between, named, releases
    from bnsuite.launch.queries import catalogue

    if options.k is None:
        raise InputError("bisect: what is compared is missing; name a case with -k, see `bnsuite list`")
    good, bad = named("--good", options.good), named("--bad", options.bad)
    for version in (good, bad):
        parse(f"torch=={version}")
    require_baselines(options)
    asked, data = asked_of(options, None), data_folder(options)
    _require_cases(catalogue(asked.profile, asked.select, data), options)
    chosen = between(releases(), good, bad)
    name, by_time = results_folder(options)
    with claimed(name, by_time=by_time) as folder:
        wanted = ComparisonRequest(
            a=f"torch=={good}",
            b=f"torch=={bad}",
            options=(asked, asked),
            folder=folder,
            data=data,
            baselines=baselines_folder(options),
            seed=options.seed,
            budget_s=options.budget,
        )
        try:
            answer = bisect(chosen, wanted, options.gate, compare, remark if options.json else say)
        except EndedError as error:
            _tell(error.answer, folder, as_json=options.json)
            raise error.cause from None
        _tell(answer, folder, as_json=options.json)
    return answer.status


def _tell(answer: Answer, folder: Path, *, as_json: bool) -> None:
    """Print the answer, then write it: what took hours is told even where nothing can be written any more."""
    from bnsuite.record.files import write_atomically

    text = answer.model_dump_json(by_alias=True, indent=1)
    say(text if as_json else answer.text)
    write_atomically(folder / ANSWER, text + "\n")


def _forget_old(folder: Path, keep: str) -> None:
    """Take away what an earlier search left in `folder`, but for the comparison that has just been made."""
    from bnsuite.judge.bisect import Answer
    from bnsuite.launch.environments.release import VERSION
    from bnsuite.record.files import read_text
    from bnsuite.record.store import parse

    old = folder / ANSWER
    if not old.exists():
        return
    with contextlib.suppress(InputError):  # if it can't be read, it is replaced all the same
        for one in parse(Answer, read_text(old, "answer"), old).seen:
            if one.release != keep and VERSION.fullmatch(one.release):
                shutil.rmtree(folder / one.release, ignore_errors=True)
    with contextlib.suppress(OSError):
        old.unlink()


def _require_cases(cases: Iterable[PlannedCase], options: argparse.Namespace) -> None:
    """Raise InputError if no case is compared, or none by the gate that was named."""
    compared = [case for case in cases if not case.bounds]
    if not compared:
        raise InputError(f"-k {options.k!r} {NOT_COMPARED}")
    if options.gate is not None and not any(options.gate in case.gates for case in compared):
        raise InputError(
            f"--gate {options.gate}: judges none of the cases that -k {options.k!r} matches; `bnsuite list -k "
            f"{options.k!r}` shows their gates"
        )


def bisect(
    releases: list[str],
    wanted: ComparisonRequest,
    gate: str | None,
    compare: Compare,
    tell: Callable[[str], None] = say,
) -> Answer:
    """Look for the first bad one of `releases` (oldest first; good, then bad at the end).

    `wanted` is the comparison of the ends; its folder takes a folder a release. `tell` hears each step. Raises
    EndedError for what ends it once the ends are known to differ, and before that what it was.
    """
    from bnsuite.judge.bisect import Search, Seen, Told, judged
    from bnsuite.judge.verdict import Verdict
    from bnsuite.launch.environments import EnvironmentUnavailableError

    search = Search.over(releases)
    good, bad = search.last_good, search.first_bad
    tell(f"{len(releases)} releases from torch {good}, which is trusted, to {bad}")
    ends = _compared(compare, wanted, bad)
    _forget_old(wanted.folder, keep=bad)
    which = judged(ends.findings, gate)
    seen = {bad: _seen(bad, ends, dict.fromkeys(which))}
    tell(_line(seen[bad]))
    if seen[bad].told is not Told.BAD:
        return _answer(search, seen, gate)
    worse = [one for one in ends.findings if one.verdict is Verdict.REGRESSED and (one.case, one.gate) in which]
    sizes = {(one.case, one.gate): one.change if one.gate == "timing" else None for one in worse}
    wanted = replace(wanted, options=_narrowed(wanted.options, sizes, ends))
    while (release := search.next) is not None:
        try:
            seen[release] = _seen(release, _compared(compare, wanted, release), sizes)
        except Exception as error:
            # What is not of this release would meet the others too.
            if not isinstance(error, EnvironmentUnavailableError) or error.environment != f"torch=={release}":
                raise EndedError(_answer(search, seen, gate, ended=f"{_cause(error)}; "), error) from error
            seen[release] = Seen(release=release, told=Told.SKIPPED, text=f"can't be had: {error.cause}")
        except KeyboardInterrupt:
            return _answer(search, seen, gate, ended="interrupted; ")
        tell(_line(seen[release]))
        search = search.after(release, seen[release].told)
    return _answer(search, seen, gate)


def _compared(compare: Compare, wanted: ComparisonRequest, release: str) -> ComparisonResult:
    """`release` compared with the good one; KeyboardInterrupt if that was interrupted."""
    judged = compare(replace(wanted, b=f"torch=={release}", folder=wanted.folder / release), sys.stderr)
    for warning in judged.warnings:
        remark(warning)
    if judged.b.ended_by == "interrupted":
        raise KeyboardInterrupt
    return judged


def _narrowed(
    asked: tuple[RunOptions, RunOptions], which: Iterable[Which], ends: ComparisonResult
) -> tuple[RunOptions, RunOptions]:
    """What is asked of the releases between: what regressed at the end alone, on the device that it was seen on."""
    from bnsuite.record.select import expression

    select = expression(case for case, _ in which)
    a, b = (
        one.model_copy(update={"device": ends.b.device, "select": select if select is not None else one.select})
        for one in asked
    )
    return a, b


def _cause(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else one_line(error)


def _seen(release: str, judged: ComparisonResult, sizes: Mapping[Which, float | None]) -> Seen:
    from bnsuite.judge.bisect import UNCHANGED, Seen, Told, tell

    told, clearest = tell(judged.findings, sizes)
    if told is Told.SKIPPED and judged.b.ended_by is not None:
        text = judged.b.ended_by
    elif not clearest:
        text = "not all of what regressed was measured"
    else:
        text = _shown(clearest[0]) + (f", and {len(clearest) - 1} more" if len(clearest) > 1 else "")
        if told is Told.SKIPPED and clearest[0].verdict in UNCHANGED:
            text += ", by which it could still have the change that is looked for"
    return Seen(release=release, told=told, text=text)


def _shown(finding: Finding) -> str:
    """Which verdict, of what, by how much: the estimate with its interval, or the gate's own words."""
    from bnsuite.report import units

    text = finding.summary
    if finding.change is not None and finding.low is not None and finding.high is not None:
        bounds = f"{units.change(finding.low)} to {units.change(finding.high)}"
        text = f"{units.change(finding.change)} ({bounds})"
    return f"{finding.verdict.value} {finding.gate} of {finding.case}, {text}"


def _line(seen: Seen) -> str:
    return f"torch {seen.release}: {seen.told.value}: {seen.text}"


def _answer(search: Search, seen: dict[str, Seen], gate: str | None, ended: str = "") -> Answer:
    """Which release it is, or between which two it lies, if there is a change at all; `ended` says what ended it."""
    from bnsuite.judge.bisect import Answer, Told
    from bnsuite.judge.verdict import ExitStatus

    first, last = search.releases[0], search.releases[-1]
    good, bad, hidden = search.last_good, search.first_bad, search.between
    before = f"{good} is good ({seen[good].text})" if good in seen else f"{good} is good, as it was named"
    status, changed = ExitStatus.NOT_MEASURED, seen[last].told is Told.BAD
    if seen[last].told is Told.GOOD:
        status, text = ExitStatus.FINE, f"no change between torch {first} and {last}: {seen[last].text}"
    elif not changed:
        text = f"whether torch {last} differs from {first} could not be told: {seen[last].text}"
    elif not hidden:
        status, text = ExitStatus.FINE, f"torch {bad} is the first bad one ({seen[bad].text}); {before}"
    else:
        text = (
            f"{ended}the change came after torch {good} and not after {bad} ({seen[bad].text}); {before}; "
            f"{', '.join(hidden)} could not be told"
        )
    return Answer(
        schema=Answer.SCHEMA,
        good=first,
        bad=last,
        gate=gate,
        seen=tuple(seen.values()),
        last_good=good if changed else None,
        first_bad=bad if changed else None,
        between=hidden if changed else (),
        status=status,
        text=text,
    )
