"""The verdict of a run or a comparison in one sentence of plain words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bnsuite.judge.gates import GATES
from bnsuite.judge.verdict import DECIDED_WELL, NOT_MEASURED, WORST_FIRST, ExitStatus, Finding, Verdict
from bnsuite.record.schema import Run
from bnsuite.report import text, units
from bnsuite.report.judged import ComparisonReport, Report

_DID = {
    Verdict.FAILED: "failed",
    Verdict.MISSING: "missing",
    Verdict.INVALID: "measured under interference",
}


def sentence(report: Report) -> str:
    """Returns the verdict in words, as the last line of the terminal says it."""
    findings, status = report.judgement.findings, report.judgement.status
    run = report.judged
    if status is ExitStatus.REGRESSED:
        return _regressed(report, findings)
    if status is ExitStatus.UNUSABLE:
        return "The results are not usable."
    if status is ExitStatus.NOT_MEASURED:
        return _not_measured(run, findings)
    return _fine(findings)


def _cases(findings: Iterable[Finding]) -> str:
    return units.count(len({one.case for one in findings}), "case")


def _regressed(report: Report, findings: Sequence[Finding]) -> str:
    worse = [one for one in findings if one.verdict is Verdict.REGRESSED]
    where = "B is worse than A" if isinstance(report, ComparisonReport) else "This environment got worse"
    if not worse:  # a file may say anything
        return f"{where}."
    alone = {one.case for one in worse}
    gates = _listed(dict.fromkeys(one.gate for one in worse))
    which = f": {text.clipped(next(iter(alone)))}" if len(alone) == 1 else ""
    return f"{where} in {_cases(worse)} ({gates}){which}."


def _not_measured(run: Run, findings: Sequence[Finding]) -> str:
    broken = [
        f"{_cases(some)} {_DID[verdict]}"
        for verdict in WORST_FIRST
        if verdict in NOT_MEASURED and (some := [one for one in findings if one.verdict is verdict])
    ]
    if not run.finished:
        broken.insert(0, f"it ended early ({text.clipped(run.ended_by or 'for no known reason')})")
    if not broken and any(one.unconfirmed for one in findings):
        return "A slowdown is not confirmed."
    return f"Not measured as asked: {_listed(broken)}." if broken else "Not measured as asked."


def _fine(findings: Sequence[Finding]) -> str:
    there = {one.gate for one in findings}
    gates = [gate for gate in GATES if gate in there] + sorted(there - GATES.keys())
    decided = [gate for gate in gates if any(one.gate == gate and one.verdict in DECIDED_WELL for one in findings)]
    undecided = [gate for gate in gates if gate not in decided]
    if not decided:
        return "Nothing was compared."
    better = [one for one in findings if one.verdict is Verdict.IMPROVED]
    improved = f" {_cases(better).capitalize()} improved." if better else ""
    slow = " A slowdown is not confirmed." if any(one.unconfirmed for one in findings) else ""
    if undecided:
        verb = "is" if len(undecided) == 1 else "are"
        return f"Nothing wrong in {_listed(decided)}; {_listed(undecided)} {verb} not decided.{slow}{improved}"
    return f"Nothing wrong.{slow}{improved}"


def _listed(names: Iterable[str]) -> str:
    """Returns names as a person says them: "a, b and c"."""
    *first, last = [text.clipped(name) for name in names]
    return f"{', '.join(first)} and {last}" if first else last
