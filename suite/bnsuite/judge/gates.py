"""The gates there are, and a run judged against a reference by all of them."""

from __future__ import annotations

from collections.abc import Mapping

from bnsuite.judge import budget, checks, convergence, cpu_time, kernels, memory, timing
from bnsuite.judge.gate import Gate, Judge
from bnsuite.judge.reason import ReasonCode, reason
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.durations import cut_short
from bnsuite.record.reference import Reference
from bnsuite.record.renames import is_retired
from bnsuite.record.schema import Run
from bnsuite.record.select import matcher
from bnsuite.record.workloads import workload_of

#: A new gate is a module beside this one that defines a `Gate`, its name here, and its name in the cases it judges.
GATES: dict[str, Gate] = {
    gate.name: gate
    for gate in (
        checks.NUMERICS_GATE,
        checks.BEHAVIOUR_GATE,
        timing.TIMING_GATE,
        cpu_time.CPU_TIME_GATE,
        memory.MEMORY_GATE,
        kernels.KERNELS_GATE,
        convergence.CONVERGENCE_GATE,
    )
}


def judge(run: Run, reference: Reference, instead: Mapping[str, Judge] | None = None) -> list[Finding]:
    """Returns all findings, in the order of the run's cases; then the cases that are missing from the run.

    A function in `instead` judges in the place of the gate of that name.
    """
    judges = {**{name: gate.judge for name, gate in GATES.items()}, **(instead or {})}
    findings = [finding for judge_one in judges.values() for finding in judge_one(run, reference)]
    if cut_short(run):
        findings = [budget.of_run(run, finding) for finding in findings]
    order = {result.id: place for place, result in enumerate(run.cases)}
    findings.sort(key=lambda finding: order[finding.case])
    findings = kernels.explain(findings) + _missing(run, reference)
    return list(map(_of_rehearsal, findings)) if run.environment.rehearsal else findings


def _of_rehearsal(finding: Finding) -> Finding:
    """Returns a finding of numbers that no GPU has made as INVALID; what was not measured stays what it is."""
    if finding.verdict in {Verdict.FAILED, Verdict.MISSING, Verdict.SKIPPED, Verdict.INVALID}:
        return finding
    why = reason(ReasonCode.REHEARSED, reason=finding.reason)
    return finding.model_copy(update={"verdict": Verdict.INVALID, "reason": why})


def _missing(run: Run, reference: Reference) -> list[Finding]:
    """Returns a finding for each case of the reference that the run's profile and selection include and it lacks."""
    if run.options.replaces:  # it is measured where it has a part, which is not everywhere
        return []
    has = {(result.id, gate) for result in run.cases for gate in result.outcomes}
    workloads = {workload_of(result.id) for result in run.cases}
    selected = matcher(run.options.select) if run.options.select else lambda _: True
    return [
        Finding(
            case=one.id,
            gate=gate.name,
            verdict=Verdict.MISSING,
            reason=reason(ReasonCode.MISSING_CASE, reference=reference.name),
        )
        for gate in GATES.values()
        for one in gate.accepted(reference, run)
        if (one.id, gate.name) not in has and run.options.profile in one.profiles and selected(one.id)
        if not is_retired(one.id)
        if workload_of(one.id) is None or workload_of(one.id) in workloads  # of a file that this run was not given
    ]
