"""``gitlab-metrics.txt``: OpenMetrics for GitLab's metrics report.

GitLab compares values as text, and shows every one that differs between two branches. Here are the few that stay the
same unless there is news: the exit status, the counts of verdicts, and the changes that a gate is sure of, to 1 %.
"""

from __future__ import annotations

from bnsuite.judge.verdict import Verdict
from bnsuite.report.exports.exposition import Sample, exposition
from bnsuite.report.exports.openmetrics import METRICS
from bnsuite.report.exports.subject import Subject
from bnsuite.report.judged import Report

#: Changes that are shown, the most important ones.
MOST_CHANGES = 50
_CERTAIN = frozenset({Verdict.REGRESSED, Verdict.IMPROVED})


def render(report: Report) -> str:
    """Returns the file; a GPU has no number here, since the next pipeline may get another one."""
    subject = Subject.of(report)
    run = subject.run
    common = {"kind": subject.kind, "profile": run.options.profile, "device": run.device.partition(":")[0]}
    samples = [
        Sample("bnsuite_run_exit_status", subject.judgement.status.value, common),
        Sample("bnsuite_run_finished", int(run.finished), common),
    ]
    samples += [
        Sample("bnsuite_findings", count, {**common, "gate": gate, "verdict": verdict.value})
        for gate in subject.gates
        for verdict, count in subject.counts(gate).items()
    ]
    certain = [(one, one.change) for one in subject.findings if one.verdict in _CERTAIN and one.change is not None]
    samples += [
        Sample("bnsuite_case_change_ratio", round(change, 2), {**common, "case": one.case, "gate": one.gate})
        for one, change in certain[:MOST_CHANGES]
    ]
    return exposition(samples, METRICS)
