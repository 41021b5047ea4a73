"""A page for people in GitHub's Markdown that never grows beyond its limit: the most important comes first.

It has the verdict, what differs, the counts, a table of what is not PASS, and two folded lists: the findings by family,
and the timed cases. What does not fit is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median

from bnsuite.judge.verdict import WORST_FIRST, Finding, Verdict
from bnsuite.report import causes, cells, text, units
from bnsuite.report.exports import numbers
from bnsuite.report.exports.subject import Subject
from bnsuite.report.reasons import words
from bnsuite.report.tabular import NOTHING

#: A sign beside each verdict, never instead of it; INCONCLUSIVE is neither good nor bad.
SIGNS = {
    Verdict.REGRESSED: "🔴",
    Verdict.FAILED: "🔴",
    Verdict.MISSING: "🟠",
    Verdict.INVALID: "🟠",
    Verdict.INCONCLUSIVE: "⚪",
    Verdict.NO_BASELINE: "⚪",
    Verdict.SKIPPED: "⚪",
    Verdict.IMPROVED: "🔵",
    Verdict.PASS: "🟢",
}
#: Without numbers of their own, so many findings of one reason are one row.
_ALIKE = 3
#: The share of the page that the folded lists may count on.
_FOLDED_SHARE = 0.2
_MOST_DIFFERENCES = 40
#: What the end of a table or of a folded list needs: the line that counts the rest, and the closing tag.
_RESERVE = 200

Row = Sequence[str]


class Page:
    """Parts of a page, added while they fit."""

    def __init__(self, most_bytes: int) -> None:
        self._room, self._parts = most_bytes, list[str]()

    def add(self, part: str, keep: int = 0) -> bool:
        """Add a part and its line end if `keep` bytes are left then; returns if it was added."""
        size = len(part.encode()) + 1
        if size > self._room - keep:
            return False
        self._room -= size
        self._parts.append(part)
        return True

    def table(self, header: Row, rows: Sequence[Row], more: Callable[[int], str], keep: int = 0) -> None:
        """Add as many rows as fit, and a line that counts those that do not."""
        keep += _RESERVE
        if not rows or not self.add(f"{_row(header)}\n{_row(['---'] * len(header))}", keep):
            return
        for done, row in enumerate(rows):
            if not self.add(_row(row), keep):
                self.add(f"\n{more(len(rows) - done)}")
                break
        self.add("")

    def folded(self, title: str, header: Row, rows: Sequence[Row], more: Callable[[int], str]) -> None:
        """Add a list that opens on a click, if it has rows."""
        if rows and self.add(f"<details><summary>{title}</summary>\n", 2 * _RESERVE):
            self.table(header, rows, more)
            self.add("</details>\n")

    def text(self) -> str:
        """Returns the page."""
        return "".join(f"{part}\n" for part in self._parts)


def render(subject: Subject, most_bytes: int) -> str:
    """Returns the page in at most so many bytes of UTF-8."""
    page = Page(most_bytes)
    sign = SIGNS[subject.findings[0].verdict] if subject.findings else "⚪"
    page.add(f"## {sign} bnsuite: {text.github(subject.sentence)}\n")
    page.add("\n".join(_about(subject)) + "\n")
    if known := causes.sentence(subject.report):
        page.add(f"{text.github(known)}.\n")
    page.table(*_counts(subject), lambda left: f"and {units.count(left, 'more gate')}")
    news = list(_news(subject))
    if news:
        page.add("### Not PASS\n", _RESERVE)
        header = ("verdict", "gate", "case", "change", "reason", "command")
        keep = round(_FOLDED_SHARE * most_bytes)
        findings = [count for count, _ in news]
        page.table(
            header,
            [row for _, row in news],
            lambda left: f"**{sum(findings[-left:]):,} more findings** are not shown, the least important ones.",
            keep,
        )
    page.folded(
        f"All {len(subject.findings):,} findings by family",
        ("family", "gate", "findings", "median change"),
        list(_families(subject)),
        lambda left: f"and {left:,} more rows",
    )
    timed = list(_timed(subject))
    page.folded(
        f"{units.count(len(timed), 'timed case')}",
        ("case", "step", "peak memory", "change", "verdict"),
        timed,
        lambda left: f"and {units.count(left, 'more case')}",
    )
    return page.text()


def change(finding: Finding) -> str:
    """Returns the change of a finding with its interval, such as "memory +3.0 %"; "–" where it has no number."""
    return text.clipped(cells.with_interval(finding), text.MAX_CELL) or NOTHING


def _about(subject: Subject) -> Iterator[str]:
    yield text.github(subject.measured) + "  "
    times, differences = subject.times, subject.differences
    if times is None or differences is None:
        yield f"Judged by {text.github_code(text.clipped(subject.judgement.reference))}."
        return
    a, b = (text.github_code(text.clipped(name)) for name in (times.a, times.b))
    yield f"A, trusted: {a} · B, judged: {b}"
    if times.injected:
        faults = ", ".join(f"{name} = {amount:g}" for name, amount in times.injected.items())
        yield f"  \nInjected into B: {text.github(faults)}"
    yield ""
    if not differences:
        yield "**What differs:** nothing that bnsuite knows of."
        return
    yield "**What differs:**"
    yield ""
    for one in differences[:_MOST_DIFFERENCES]:
        yield f"- {text.github(text.clipped(one))}"
    if len(differences) > _MOST_DIFFERENCES:
        yield f"- and {len(differences) - _MOST_DIFFERENCES:,} more"


def _counts(subject: Subject) -> tuple[Row, list[Row]]:
    there = {one.verdict for one in subject.findings}
    shown = [verdict for verdict in WORST_FIRST if verdict in there]
    rows: list[Row] = []
    for gate in subject.gates:
        counts = subject.counts(gate)
        rows.append([text.github(text.clipped(gate)), *(str(counts[verdict] or NOTHING) for verdict in shown)])
    return ["gate", *(verdict.value for verdict in shown)], rows


def _news(subject: Subject) -> Iterator[tuple[int, Row]]:
    """Yields the number of findings and the row of each that is not PASS; alike ones share a row."""
    groups: dict[tuple[Verdict, str, str, str], list[Finding]] = {}
    for one in subject.findings:
        if one.verdict is not Verdict.PASS:
            groups.setdefault((one.verdict, one.gate, words(one), change(one)), []).append(one)
    for found in groups.values():
        alike = len(found) > _ALIKE and change(found[0]) == NOTHING
        for one in found[:1] if alike else found:
            yield len(found) if alike else 1, _news_row(subject, one, found if alike else [one])


def _news_row(subject: Subject, one: Finding, alike: Sequence[Finding]) -> Row:
    who = text.github_code(text.clipped(one.case, text.MAX_CELL))
    return [
        f"{SIGNS[one.verdict]} {one.verdict.value}",
        text.github(text.clipped(one.gate)),
        who if len(alike) == 1 else f"{len(alike):,} cases, the first {who}",
        text.github(change(one)),
        text.github(text.clipped(words(one), text.MAX_SENTENCE)),
        text.github_code(text.clipped(subject.command(one), text.MAX_SENTENCE)),
    ]


def _families(subject: Subject) -> Iterator[Row]:
    groups: dict[tuple[str, str], list[Finding]] = {}
    for one in subject.findings:
        groups.setdefault((subject.family(one), one.gate), []).append(one)
    for (family, gate), found in groups.items():
        changes = [one.change for one in found if one.change is not None]
        middle = f"{units.change(median(changes))} of {len(changes):,}" if changes else NOTHING
        yield [text.github(text.clipped(family)), text.github(text.clipped(gate)), _verdicts(found), middle]


def _verdicts(found: Iterable[Finding]) -> str:
    counts = Counter(one.verdict for one in found)
    return ", ".join(f"{counts[verdict]:,} {verdict.value}" for verdict in WORST_FIRST if counts[verdict])


def _timed(subject: Subject) -> Iterator[Row]:
    """Yields a row per timed case, in the order in which its worst finding comes."""
    findings: dict[str, list[Finding]] = {}
    for one in subject.findings:
        findings.setdefault(one.case, []).append(one)
    timed = {one.case: one for one in numbers.measured(subject)}
    for case, found in findings.items():
        if measured := timed.get(case):
            step_s, peak = measured.step_s, measured.peak_bytes
            yield [
                text.github_code(text.clipped(case, text.MAX_CELL)),
                NOTHING if step_s is None else units.seconds(step_s),
                NOTHING if peak is None else units.nbytes(peak),
                text.github(", ".join(filter(None, map(_moved, found))) or NOTHING),
                f"{SIGNS[found[0].verdict]} {found[0].verdict.value}",
            ]


def _moved(finding: Finding) -> str:
    """Returns the change of a finding; empty where it has none, or is the same to the byte."""
    same = finding.verdict is Verdict.PASS and not finding.change
    return "" if same or change(finding) == NOTHING else change(finding)


def _row(row: Row) -> str:
    return f"| {' | '.join(row)} |"
