"""The findings that are not PASS as the page shows them, and the command beside each case."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.report import cells, news, repeat
from bnsuite.report.html.marks import MARKS, Mark
from bnsuite.report.judged import Report, RunReport
from bnsuite.report.reasons import words

#: Items of the list, and cases named in one of them.
MAX_ITEMS, MAX_CASES = 150, 200


@dataclass(frozen=True)
class Named:
    """A case of an item: its id, its place on the page, and a number of its own; empty where there is none."""

    case: str
    anchor: str
    number: str


@dataclass(frozen=True)
class Item:
    """One thing to read: a verdict with its reason, the cases that have it, and the command that settles it."""

    mark: Mark
    gate: str
    #: The number that changed, and its interval, where one case has them.
    number: str
    interval: str
    reason: str
    cases: tuple[Named, ...]
    more: int
    doing: str
    command: str | None


def items(report: Report, anchors: dict[str, str]) -> tuple[list[Item], int]:
    """Returns the items, at most MAX_ITEMS of them, and how many more there are."""
    found = news.items(report)
    return [_item(report, one, anchors) for one in found[:MAX_ITEMS]], max(0, len(found) - MAX_ITEMS)


def _item(report: Report, one: news.Item, anchors: dict[str, str]) -> Item:
    first, alone = one.findings[0], len(one.findings) == 1
    reason = news.new_machine(report, one) if one.is_new_machine else why(first) if alone else one.reason
    named = [
        Named(place.case, anchors.get(finding.case, ""), "" if alone else place.number)
        for place, finding in zip(one.places[:MAX_CASES], one.findings, strict=False)
    ]
    return Item(
        mark=MARKS[one.verdict],
        gate=one.gate,
        number=cells.number(first) if alone else "",
        interval=cells.interval(first) if alone else "",
        reason=reason,
        cases=tuple(named),
        more=max(0, len(one.places) - MAX_CASES),
        doing=_doing(one),
        command=one.command,
    )


def _doing(one: news.Item) -> str:
    """Returns what the command of an item does."""
    command = one.command or ""
    if command.startswith("bnsuite accept"):
        return "Accept it"
    if news.is_left_over(one.findings[0]):
        return "Measure it without the budget"
    if one.verdict is Verdict.INCONCLUSIVE:
        return f"Settle it with more {'seeds' if one.gate == 'convergence' else 'launches'}"
    if "confirm" in one.findings[0].reason.data:
        return "Settle it by an interleaved comparison"
    return "Compare it again" if command.startswith("bnsuite ab") else "Measure it again"


def why(finding: Finding) -> str:
    """Returns the reason in words, without the number and the interval where these stand before it."""
    return re.sub(f"takes {re.escape(cells.with_interval(finding))}[,:] ", "", words(finding), count=1)


def again(report: Report) -> Callable[[str], str | None]:
    """Returns the function that gives the command which repeats one case."""
    if isinstance(report, RunReport):
        return lambda case: repeat.run_again(report.run, [case])
    return lambda case: repeat.compare_again(report.b, report.times, [case])
