"""Annotations of a GitHub workflow: commands on stdout, for the worst findings.

GitHub shows ten errors, ten warnings and ten notices per step. Equal reasons are one annotation. There is no ``file=``:
no line of the repository is to blame.
"""

from __future__ import annotations

from collections.abc import Iterator

from bnsuite.judge.verdict import NOT_MEASURED, Finding, Verdict
from bnsuite.report import text, units
from bnsuite.report.exports.subject import Subject
from bnsuite.report.judged import Report
from bnsuite.report.reasons import words

#: Annotations of a kind, before the one that counts the rest.
MOST = 9
LEVELS = {
    "error": frozenset({Verdict.REGRESSED, *NOT_MEASURED}),
    "warning": frozenset({Verdict.INCONCLUSIVE}),
    "notice": frozenset({Verdict.IMPROVED}),
}


def render(report: Report) -> str:
    """Returns the commands, one per line; the last is a notice with the verdict of the whole run."""
    subject = Subject.of(report)
    lines = [line for level, verdicts in LEVELS.items() for line in _level(subject, level, verdicts)]
    return "\n".join([*lines, _command("notice", "bnsuite", subject.sentence), ""])


def _level(subject: Subject, level: str, verdicts: frozenset[Verdict]) -> Iterator[str]:
    groups: dict[tuple[Verdict, str, str], list[Finding]] = {}
    for one in subject.findings:
        if one.verdict in verdicts:
            groups.setdefault((one.verdict, one.gate, words(one)), []).append(one)
    most = MOST - (level == "notice")  # one is the verdict
    for (verdict, gate, why), found in list(groups.items())[:most]:
        who = found[0].case if len(found) == 1 else f"{len(found):,} cases"
        yield _command(level, f"{verdict.value} {gate}, {who}", "\n".join(_message(subject, found, why)))
    left = sum(len(found) for found in list(groups.values())[most:])
    if left:
        yield _command(level, f"{left:,} more", f"{units.count(left, 'more finding')}; `bnsuite show` prints them all")


def _message(subject: Subject, found: list[Finding], why: str) -> Iterator[str]:
    yield text.clipped(why, text.MAX_SENTENCE)
    if len(found) > 1:
        yield text.listed([text.one_line(one.case) for one in found], 3)
    yield text.clipped(subject.command(found[0]), text.MAX_REASON)


def _command(level: str, title: str, message: str) -> str:
    lines = "\n".join(text.one_line(line) for line in message.split("\n"))
    title = text.clipped(text.one_line(title), text.MAX_CELL)
    return f"::{level} title={text.workflow_property(title)}::{text.workflow_data(lines)}"
