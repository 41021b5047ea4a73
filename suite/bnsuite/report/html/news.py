"""The findings that are not PASS, worst first; those with equal reasons are one item."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bnsuite.judge.gates import GATES
from bnsuite.judge.verdict import WORST_FIRST, Finding, Verdict
from bnsuite.report import repeat, text, units
from bnsuite.report.html.marks import MARKS, Mark
from bnsuite.report.judged import ComparisonReport, Report, RunReport
from bnsuite.report.reasons import words

#: Items of the list, and cases named in one of them.
MAX_ITEMS, MAX_CASES = 150, 200

MEASURE, COMPARE = "Measure it again", "Compare it again"
ACCEPT = "Measure it again, then `bnsuite accept RUN`"
CONFIRM = "Settle it by an interleaved comparison with the baseline's environment"
MORE_SEEDS, MORE_LAUNCHES = "Settle it with more seeds", "Settle it with more launches"


@dataclass(frozen=True)
class Item:
    """One thing to read: a verdict with its reason, the cases that have it, and the command that repeats it."""

    mark: Mark
    gate: str
    #: The number that changed, and its interval, where one case has them.
    number: str
    interval: str
    reason: str
    cases: tuple[tuple[str, str], ...]
    more: int
    doing: str
    command: str | None


def items(report: Report, anchors: dict[str, str]) -> tuple[list[Item], int]:
    """Returns the items, at most MAX_ITEMS of them, and how many more there are."""
    groups: dict[tuple[Verdict, str, str], list[Finding]] = {}
    for finding in report.judgement.findings:
        if finding.verdict is not Verdict.PASS:
            groups.setdefault((finding.verdict, finding.gate, words(finding)), []).append(finding)
    ordered = sorted(groups.values(), key=_order)
    return [_item(report, group, anchors) for group in ordered[:MAX_ITEMS]], max(0, len(ordered) - MAX_ITEMS)


def _order(group: Sequence[Finding]) -> tuple[int, float]:
    return WORST_FIRST.index(group[0].verdict), -abs(group[0].change or 0.0)


def _item(report: Report, group: Sequence[Finding], anchors: dict[str, str]) -> Item:
    first = group[0]
    alone = len(group) == 1
    doing, command = command_for(report, group)
    names = [one.case for one in group]
    return Item(
        mark=MARKS[first.verdict],
        gate=first.gate,
        number=number(first) if alone else "",
        interval=interval(first) if alone else "",
        reason=why(first) if alone else words(first),
        cases=tuple((text.clipped(name, text.MAX_CELL), anchors.get(name, "")) for name in names[:MAX_CASES]),
        more=max(0, len(names) - MAX_CASES),
        doing=doing,
        command=command,
    )


def why(finding: Finding) -> str:
    """Returns the reason in words, without the number and the interval where these stand before it."""
    return re.sub(f"takes {re.escape(f'{number(finding)} ({interval(finding)})')}[,:] ", "", words(finding), count=1)


def number(finding: Finding) -> str:
    """Returns the number that a gate judged, with its name; empty where there is none."""
    ratio, bound = finding.evidence.get("ratio"), finding.evidence.get("bound")
    if isinstance(ratio, int | float) and isinstance(bound, int | float):
        return f"{ratio:.2f} × partner (≤ {bound:g})"
    if finding.change is None:
        return ""
    gate = GATES.get(finding.gate)
    label = gate.label_of(finding.evidence) if gate is not None else ""
    return f"{text.clipped(label)} {units.change(finding.change)}".lstrip()


def interval(finding: Finding) -> str:
    """Returns the interval of that number; empty where there is none."""
    low, high = finding.evidence.get("low"), finding.evidence.get("high")
    if isinstance(low, int | float) and isinstance(high, int | float):
        return f"{low:.2f} to {high:.2f}"
    if finding.low is None or finding.high is None:
        return ""
    return f"{units.change(finding.low)} to {units.change(finding.high)}"


def command_for(report: Report, findings: Sequence[Finding]) -> tuple[str, str | None]:
    """Returns what to do about findings of one verdict and gate, and the command that does it."""
    first, names = findings[0], list(dict.fromkeys(one.case for one in findings))
    undecided = first.verdict is Verdict.INCONCLUSIVE
    if isinstance(report, ComparisonReport):
        profile = "full" if undecided else None
        doing = (MORE_SEEDS if first.gate == "convergence" else MORE_LAUNCHES) if undecided else COMPARE
        return doing, repeat.compare_again(report.b, report.times, names, profile=profile)
    if "confirm" in first.reason.data:
        return CONFIRM, repeat.run_again(report.run, names, "--confirm")
    if undecided and first.gate == "convergence":
        return MORE_SEEDS, repeat.run_again(report.run, names, profile="full")
    doing = ACCEPT if first.verdict is Verdict.NO_BASELINE else MEASURE
    return doing, repeat.run_again(report.run, names)


def again(report: Report) -> Callable[[str], str | None]:
    """Returns the function that gives the command which repeats one case."""
    if isinstance(report, RunReport):
        return lambda case: repeat.run_again(report.run, [case])
    return lambda case: repeat.compare_again(report.b, report.times, [case])
