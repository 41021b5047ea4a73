"""The last line: what was found, over how much, in which time, and the exit status."""

from __future__ import annotations

from collections import Counter

from bnsuite.judge.gates import GATES
from bnsuite.judge.verdict import DECIDED_WELL, NOT_MEASURED, WORST_FIRST, ExitStatus, Finding
from bnsuite.record.durations import cut_short
from bnsuite.record.schema import Run
from bnsuite.report import text, units

_HEADS = {
    ExitStatus.FINE: "nothing wrong",
    ExitStatus.REGRESSED: "REGRESSED",
    ExitStatus.NOT_MEASURED: "not measured as asked",
    ExitStatus.UNUSABLE: "unusable",
}


def last_line(run: Run, findings: list[Finding], status: ExitStatus) -> str:
    """Returns the last line of a report."""
    counts = Counter(finding.verdict for finding in findings)
    verdicts = ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in WORST_FIRST if counts[verdict])
    head = _head(run, findings, status)
    if not run.finished:
        head += f" ({text.clipped(text.one_line(run.ended_by or 'the run did not come to its end'), text.MAX_REASON)})"
    if cut_short(run):
        head += " (the budget ended before all was measured)"
    without = f" ({run.left_out} more need {_lacking(run)})" if run.left_out else ""
    cases = units.count(len(run.cases), "case")
    took = units.duration(run.wall_s)
    return f"{head}: {verdicts or 'nothing measured'} in {cases}{without}, {took} (exit status {status.value})"


def _lacking(run: Run) -> str:
    """Returns what a run lacks for the cases that it has left out."""
    if run.device != "cpu":
        return "more GPUs or cores"
    if not run.left_out_ranks:
        return "a GPU"
    return "more cores" if run.left_out_ranks == run.left_out else "a GPU or more cores"


def _head(run: Run, findings: list[Finding], status: ExitStatus) -> str:
    broken = not run.finished or any(one.verdict in NOT_MEASURED for one in findings)
    if status in {ExitStatus.FINE, ExitStatus.NOT_MEASURED} and not broken and any(one.unconfirmed for one in findings):
        return "a slowdown is not confirmed"
    if status is not ExitStatus.FINE:
        return _HEADS[status]
    there = {one.gate for one in findings}
    gates = [gate for gate in GATES if gate in there] + sorted(there - GATES.keys())
    decided = [gate for gate in gates if any(one.gate == gate and one.verdict in DECIDED_WELL for one in findings)]
    undecided = [gate for gate in gates if gate not in decided]
    if not decided:
        return "nothing compared"
    if undecided:
        return f"nothing wrong in {', '.join(decided)}; {', '.join(undecided)} not decided"
    return _HEADS[status]
