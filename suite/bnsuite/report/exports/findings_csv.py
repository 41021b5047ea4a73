"""``findings.csv``: one line per finding, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io

from bnsuite.report import text
from bnsuite.report.exports import numbers
from bnsuite.report.exports.subject import Subject
from bnsuite.report.judged import Report
from bnsuite.report.reasons import words

COLUMNS = (
    *("verdict", "gate", "case", "family", "change", "low", "high"),
    *("step_seconds", "peak_bytes", "reason_code", "reason", "command"),
)


def render(report: Report) -> str:
    """Returns the table, the worst verdict first; numbers are bare, text is quoted and never a formula."""
    subject = Subject.of(report)
    measured = {one.case: one for one in numbers.measured(subject)}
    stream = io.StringIO()
    writer = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(COLUMNS)
    for one in subject.findings:
        change = numbers.of_finding(one)
        timed = measured.get(one.case)
        step_s = timed.step_s if timed is not None and one.gate == "timing" else None
        peak = timed.peak_bytes if timed is not None and one.gate == "memory" else None
        told = (one.verdict.value, one.gate, one.case, subject.family(one))
        why = (one.reason.code.value, words(one), subject.command(one))
        writer.writerow(
            [
                *map(text.spreadsheet, told),
                *(change.get(name, "") for name in ("change", "low", "high")),
                *("" if value is None else value for value in (step_s, peak)),
                *map(text.spreadsheet, why),
            ]
        )
    return stream.getvalue()
