"""The command that measures a finding again, or settles it, ready to be pasted into a shell."""

from __future__ import annotations

import shlex

from bnsuite.judge.timing import looks_slower
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record import select
from bnsuite.report import text
from bnsuite.report.exports.subject import Subject

#: What the command line takes where nothing is said (a test compares them).
DEFAULT_THREADS, DEFAULT_TIMEOUT_S = 1, 300.0


def command(subject: Subject, finding: Finding) -> str:
    """Returns the command, in one line; nothing in it is more than a word to a shell."""
    times = subject.times
    words = ["bnsuite"] if times is None else ["bnsuite", "ab", times.a, times.b]
    words += _settings(subject, finding)
    if times is None:
        words += ["--confirm"] if looks_slower(finding) else []
    else:
        words += ["--seed", str(times.seed)]
    return " ".join(shlex.quote(text.one_line(word)) for word in words)


def _settings(subject: Subject, finding: Finding) -> list[str]:
    """Returns the options of the run, with this case alone."""
    asked, run = subject.run.options, subject.run
    more_seeds = finding.gate == "convergence" and finding.verdict is Verdict.INCONCLUSIVE
    words = ["--device", run.device, "--profile", "full" if more_seeds else asked.profile]
    words += [] if asked.threads == DEFAULT_THREADS else ["--threads", str(asked.threads)]
    words += [] if asked.timeout_s == DEFAULT_TIMEOUT_S else ["--timeout", f"{asked.timeout_s:g}"]
    if asked.implementation is not None:
        words += ["--impl" if subject.times is None else "--impl-b", asked.implementation]
    if subject.times is None and asked.environment != ".":
        words += ["--environment", asked.environment]
    words += [word for file in asked.cases for word in ("--cases", file)]
    chosen = select.expression([finding.case])
    return words if chosen is None else [*words, "-k", chosen]
