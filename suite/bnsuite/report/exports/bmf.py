"""``bmf.json``: the Bencher Metric Format, ``{benchmark: {measure: {value, lower_value, upper_value}}}``."""

from __future__ import annotations

import json

from bnsuite.judge.verdict import NOT_MEASURED
from bnsuite.report import text
from bnsuite.report.exports import numbers
from bnsuite.report.exports.subject import Subject
from bnsuite.report.judged import Report

#: The longest name of a benchmark is 1,024 letters, of a measure 64.
MOST_LETTERS, MOST_LETTERS_OF_MEASURE = 1000, 64
Measures = dict[str, dict[str, float]]


def render(report: Report) -> str:
    """Returns the file: the built-in measure ``latency`` in nanoseconds with its range over launches, ``peak-memory``.

    ``timing-change``, ``memory-change`` and so on are relative changes with their intervals.
    """
    subject = Subject.of(report)
    benchmarks: dict[str, Measures] = {}
    for one in numbers.measured(subject):
        measures = benchmarks.setdefault(_name(one.case), {})
        if one.step_s is not None:
            measures["latency"] = _value(1e9 * one.step_s, 1e9 * min(one.launches_s), 1e9 * max(one.launches_s))
        if one.peak_bytes is not None:
            measures["peak-memory"] = _value(one.peak_bytes)
    for finding in subject.findings:
        if finding.change is not None and finding.verdict not in NOT_MEASURED:
            measure = f"{text.one_line(finding.gate)}-change"[:MOST_LETTERS_OF_MEASURE]
            measures = benchmarks.setdefault(_name(finding.case), {})
            measures.setdefault(measure, _value(finding.change, finding.low, finding.high))
    return json.dumps(benchmarks, indent=1, ensure_ascii=False) + "\n"


def _name(case: str) -> str:
    return text.one_line(case)[:MOST_LETTERS] or "?"


def _value(value: float, lower: float | None = None, upper: float | None = None) -> dict[str, float]:
    known = {"value": value, "lower_value": lower, "upper_value": upper}
    return {name: number for name, number in known.items() if number is not None}
