"""The summary of a GitHub job."""

from __future__ import annotations

from bnsuite.report.exports import page
from bnsuite.report.exports.registry import SUMMARY_BYTES
from bnsuite.report.exports.subject import Subject
from bnsuite.report.judged import Report

MOST_BYTES = SUMMARY_BYTES


def render(report: Report) -> str:
    """Returns the summary, of at most `MOST_BYTES`."""
    return render_within(report, MOST_BYTES)


def render_within(report: Report, most_bytes: int) -> str:
    """Returns a summary of at most so many bytes."""
    return page.render(Subject.of(report), most_bytes)
