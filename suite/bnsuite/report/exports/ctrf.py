"""``ctrf.json``: the Common Test Report Format; its state "other" is that of INCONCLUSIVE and of nothing else."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from bnsuite.judge.verdict import Verdict
from bnsuite.report import text
from bnsuite.report.exports import numbers
from bnsuite.report.exports.subject import Subject
from bnsuite.report.judged import Report
from bnsuite.report.reasons import words

SPECIFICATION = "0.0.0"
STATES = {
    Verdict.REGRESSED: "failed",
    Verdict.FAILED: "failed",
    Verdict.MISSING: "failed",
    Verdict.INVALID: "failed",
    Verdict.INCONCLUSIVE: "other",
    Verdict.NO_BASELINE: "skipped",
    Verdict.SKIPPED: "skipped",
    Verdict.IMPROVED: "passed",
    Verdict.PASS: "passed",
}


def render(report: Report) -> str:
    """Returns the file: one test per finding; times in whole milliseconds, as the format has them."""
    subject = Subject.of(report)
    elapsed = numbers.elapsed_s(subject)
    tests = []
    for one in subject.findings:
        took = elapsed.get(one.case, 0.0) if one.gate == "timing" else 0.0
        test: dict[str, Any] = {
            "name": _plain(one.case) or "?",
            "status": STATES[one.verdict],
            "rawStatus": one.verdict.value,
            "duration": round(1e3 * took),
            "suite": ["bnsuite", _plain(one.gate)],
        }
        if one.verdict is not Verdict.PASS:
            test |= {"message": words(one), "extra": {"command": subject.command(one), **numbers.of_finding(one)}}
        tests.append(test)
    counts = Counter(test["status"] for test in tests)
    start = round(1e3 * subject.started.timestamp()) if subject.started else 0
    summary = {
        "tests": len(tests),
        **{state: counts[state] for state in ("passed", "failed", "skipped", "pending", "other")},
        "start": start,
        "stop": start + round(1e3 * subject.run.wall_s),
        "extra": {"exit_status": subject.judgement.status.value, "sentence": subject.sentence},
    }
    tool = {"name": "bnsuite", "version": _plain(subject.run.bnsuite)}
    file = {
        "reportFormat": "CTRF",
        "specVersion": SPECIFICATION,
        "generatedBy": "bnsuite",
        "results": {"tool": tool, "summary": summary, "tests": tests},
    }
    return json.dumps(file, indent=1, ensure_ascii=False) + "\n"


def _plain(value: str) -> str:
    return text.clipped(text.one_line(value), text.MAX_CELL)
