"""``comment.md``: the text of a comment on a pull request; a workflow posts it, or replaces its last one."""

from __future__ import annotations

from bnsuite.report.exports import page
from bnsuite.report.exports.subject import Subject
from bnsuite.report.judged import Report

#: A comment may have 65,536 letters; bytes are never fewer than letters.
MOST_BYTES = 59_000


def render(report: Report) -> str:
    """Returns the comment; its first line, which is not shown, is how a workflow finds it again."""
    subject = Subject.of(report)
    return f"<!-- bnsuite: {subject.kind} -->\n{page.render(subject, MOST_BYTES)}"
