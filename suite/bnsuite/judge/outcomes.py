"""Findings of cases that were not measured, or that the reference does not have: the same for every gate."""

from __future__ import annotations

from bnsuite.judge.reason import Reason, ReasonCode, reason, text
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.reference import Reference
from bnsuite.record.schema import CaseResult, Status


def finding(result: CaseResult, gate: str, verdict: Verdict, why: Reason) -> Finding:
    """Returns a finding that has no numbers."""
    return Finding(case=result.id, gate=gate, verdict=verdict, reason=why)


def not_measured(result: CaseResult, gate: str) -> Finding:
    """Returns the finding of a case of which `gate` has nothing to judge: skipped, failed, or not reached."""
    outcome = result.outcomes[gate]
    if outcome.status is Status.SKIPPED:
        return finding(result, gate, Verdict.SKIPPED, text(outcome.reason))
    if outcome.status is Status.FAILED or outcome.reason:
        return finding(result, gate, Verdict.FAILED, text(outcome.reason))
    return finding(result, gate, Verdict.FAILED, reason(ReasonCode.RUN_ENDED))


def without_reference(
    result: CaseResult, gate: str, reference: Reference, stored_version: int | None = None
) -> Finding:
    """Returns the finding of a case that `reference` lacks, or has in another version."""
    if stored_version is not None and stored_version != result.case.version:
        why = reason(ReasonCode.OTHER_VERSION, baseline=stored_version, run=result.case.version)
    elif (absence := reference.absence(gate, result.id)) is not None:
        why = reason(
            ReasonCode.NO_REFERENCE,
            reference=reference.name,
            cause=absence.cause.value,
            details=list(absence.details),
            acceptable=reference.acceptable,
        )
    else:
        why = reason(ReasonCode.NOT_IN_REFERENCE, reference=reference.name, acceptable=reference.acceptable)
    return finding(result, gate, Verdict.NO_BASELINE, why)
