"""``github-action-benchmark.json``: entries of ``customSmallerIsBetter`` for the action of that name."""

from __future__ import annotations

import json
from collections.abc import Iterator

from bnsuite.judge.verdict import Finding
from bnsuite.report import text, units
from bnsuite.report.exports import numbers
from bnsuite.report.exports.subject import Subject
from bnsuite.report.judged import Report
from bnsuite.report.reasons import words

Entry = dict[str, str | float]


def render(report: Report) -> str:
    """Returns the file: times in microseconds and peaks in bytes, units that never change from run to run."""
    return json.dumps(list(_entries(Subject.of(report))), indent=1, ensure_ascii=False) + "\n"


def _entries(subject: Subject) -> Iterator[Entry]:
    found = {(one.case, one.gate): one for one in subject.findings}
    for one in numbers.measured(subject):
        name = text.clipped(text.one_line(one.case), text.MAX_CELL)
        if one.step_s is not None:
            half = (max(one.launches_s) - min(one.launches_s)) / 2
            told = _told(found.get((one.case, "timing")))
            yield {
                "name": name,
                "unit": "µs",
                "value": 1e6 * one.step_s,
                "range": f"± {1e6 * half:.3g}",
                "extra": f"{len(one.launches_s)} launches\n{told}",
            }
        if one.peak_bytes is not None:
            told = _told(found.get((one.case, "memory")))
            yield {"name": f"{name} [peak memory]", "unit": "bytes", "value": one.peak_bytes, "extra": told}


def _told(finding: Finding | None) -> str:
    """Returns verdict, change and reason, as they stand in the chart's tooltip."""
    if finding is None:
        return "not judged"
    change = f" {units.change(finding.change)}" if finding.change is not None else ""
    return f"{finding.verdict.value}{change}: {text.clipped(words(finding), text.MAX_SENTENCE)}"
