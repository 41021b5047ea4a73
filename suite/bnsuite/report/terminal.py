"""The report of a run or a comparison on a terminal: what was measured, the news, the totals, the last line.

Every line fits the screen. No text of a measured process makes a line or an escape code of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from bnsuite.judge.verdict import Verdict
from bnsuite.report import causes, comparison, diagnosis, doctor, gpu, news, resolution, table, text, totals
from bnsuite.report.detail import Detail
from bnsuite.report.judged import ComparisonReport, Report, RunReport
from bnsuite.report.news import Item
from bnsuite.report.screen import BOLD, Screen
from bnsuite.report.summary import last_line

#: Cases of one item that are named; more are counted.
MAX_CASES = 4
#: Items of one verdict that are shown, and with a diagnosis that explains them; `--all` shows all.
MAX_ITEMS, MAX_EXPLAINED = 6, 2


def render(report: Report, screen: Screen, detail: Detail = Detail.NEWS) -> str:
    """Returns the report as it fits the screen."""
    end = list(_end(report, screen))
    if detail is Detail.LAST_LINE:
        return "\n".join(end)
    blocks = [list(_head(report, screen))]
    if detail is Detail.EVERYTHING:
        blocks.append(list(_table(report, screen)))
    diagnosed = diagnosis.lines(report.judged, report.judgement.findings)
    blocks.append(list(_diagnosis(diagnosed, screen)))
    blocks += _news(report, screen, everything=detail is Detail.EVERYTHING, explained=bool(diagnosed))
    blocks.append(list(_causes(report, screen)))
    blocks += [list(_totals(report, screen)), list(_resolution(report, screen)), list(_gpu(report, screen)), end]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _head(report: Report, screen: Screen) -> Iterator[str]:
    """Yields what was measured, against what, and where the results are."""
    if isinstance(report, ComparisonReport):
        lines = list(comparison.heading(report.a, report.b, report.times))
    else:
        lines = [table.heading(report.run), f"against {text.one_line(text.clipped(report.judgement.reference))}"]
    if report.folder is not None:
        lines.append(f"results in {text.one_line(str(report.folder))}")
    for number, line in enumerate(lines):
        for piece in screen.wrap(text.one_line(line), hanging=2):
            yield screen.paint(piece, BOLD) if number == 0 else piece


def _diagnosis(lines: list[str], screen: Screen) -> Iterator[str]:
    """Yields what is wrong with an implementation, the most basic first; nothing for torch's own layers."""
    if lines:
        yield screen.paint("diagnosis of the implementation", BOLD)
    for line in lines:
        yield from screen.wrap(text.one_line(line), 2, 4)


def _table(report: Report, screen: Screen) -> Iterator[str]:
    """Yields the lines of the table; rows that nothing was compared with are faint, verdicts are coloured."""
    findings = list(report.judgement.findings)
    if isinstance(report, ComparisonReport):
        lines = comparison.rows(report.a, report.b, findings, screen)
    else:
        lines = table.rows(report.run, findings, screen)
    for line in lines.split("\n"):
        end = line.rpartition("  ")[2]
        if end in {Verdict.NO_BASELINE.value, Verdict.SKIPPED.value}:
            yield screen.faint(line)
        elif end in Verdict.__members__:
            yield f"{line.removesuffix(end)}{screen.word(Verdict(end))}"
        else:
            yield line


def _news(report: Report, screen: Screen, *, everything: bool, explained: bool) -> Iterator[list[str]]:
    """Yields a block of lines per verdict that is not PASS, the worst first; beside some what disturbed the host."""
    by_verdict: dict[Verdict, list[Item]] = {}
    for item in news.items(report):
        by_verdict.setdefault(item.verdict, []).append(item)
    for verdict, items in by_verdict.items():
        most = len(items) if everything else MAX_EXPLAINED if explained else MAX_ITEMS
        lines: list[str] = []
        for item in items[:most]:
            lines += _item(report, item, screen, everything=everything)
        if len(items) > most:
            lines.append(f"  {len(items) - most} more {verdict.value}; --all shows them")
        if verdict in {Verdict.INVALID, Verdict.INCONCLUSIVE} and any(item.gate == "timing" for item in items):
            for note in doctor.disturbances(report):
                lines += screen.wrap(text.one_line(note), 2, 4)
        yield lines


def _item(report: Report, item: Item, screen: Screen, *, everything: bool) -> Iterator[str]:
    """Yields the verdict, gate and case on one line, then number and reason, other cases, and the command."""
    many = len(item.places) > 1
    yield from _headline(item, item.who, screen)
    if item.is_new_machine:
        yield from screen.wrap(news.new_machine(report, item), 4)
    else:
        number = f"{item.places[0].number}: " if item.places[0].number and not many else ""
        yield from screen.wrap(f"{number}{item.reason}", 4)
        if many:
            yield from _places(item, screen, everything=everything)
    if item.command is not None:
        yield from (screen.faint(line) for line in screen.command(text.one_line(item.command), 4))


def _headline(item: Item, who: str, screen: Screen) -> Iterator[str]:
    """Yields the verdict, gate and case; a case that does not fit beside the verdict has lines of its own."""
    plain = f"{item.verdict.value} {item.gate}, {who}"
    if len(plain) + 2 <= screen.width:
        yield f"{screen.verdict(item.verdict)} {item.gate}, {screen.paint(who, BOLD)}"
        return
    yield f"{screen.verdict(item.verdict)} {item.gate}"
    yield from (screen.paint(line, BOLD) for line in screen.wrap(who, 4))


def _places(item: Item, screen: Screen, *, everything: bool) -> Iterator[str]:
    most = len(item.places) if everything else MAX_CASES
    for place in item.places[:most]:
        line = f"{place.case}: {place.number}" if place.number else place.case
        yield from (screen.faint(piece) for piece in screen.wrap(line, 6, 8))
    if len(item.places) > most:
        yield screen.faint(f"      and {len(item.places) - most} more")


def _causes(report: Report, screen: Screen) -> Iterator[str]:
    """Yields what is known to differ from the reference, where something got worse or better."""
    known = causes.sentence(report)
    if known is not None:
        yield from screen.wrap(text.one_line(known), hanging=2)


def _totals(report: Report, screen: Screen) -> Iterator[str]:
    lines = totals.lines(report.judged, report.judgement.findings)
    longest = max((len(name) for name, _ in lines), default=0)
    for name, found in lines:
        first, *rest = screen.wrap(found, longest + 2)
        yield f"{name:{longest + 2}}{first.lstrip()}"
        yield from rest


def _resolution(report: Report, screen: Screen) -> Iterator[str]:
    for line in resolution.lines(report):
        yield from screen.wrap(text.one_line(line), hanging=2)


def _gpu(report: Report, screen: Screen) -> Iterator[str]:
    watched = gpu.line(report.run) if isinstance(report, RunReport) else None
    if watched is not None:
        yield from screen.wrap(text.one_line(watched), hanging=2)


def _end(report: Report, screen: Screen) -> Iterator[str]:
    line = last_line(report.judged, list(report.judgement.findings), report.judgement.status)
    yield from (screen.paint(piece, BOLD) for piece in screen.wrap(line, hanging=2))
