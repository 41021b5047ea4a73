"""The memory gate: a step holds no more than it did.

Bytes in torch's allocator are exact, so launches must agree to the byte; what is let pass is a share, or a MiB that
an allocator may round up to. What the GPU has in use is coarser, and counts only where bnsuite was alone on it.
"""

from __future__ import annotations

from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.lines import MemoryLine
from bnsuite.record.reference import Reference
from bnsuite.record.schema import CaseResult, Run, Status

GATE = "memory"

MIB = 1 << 20
#: What the allocator's peak may grow by: the larger of the two.
MIN_GROWTH_BYTES, GROWTH = MIB, 0.005
#: Likewise for what is used on the whole GPU.
MIN_USED_GROWTH_BYTES, USED_GROWTH = 64 * MIB, 0.05


def judge(run: Run, reference: Reference) -> list[Finding]:
    """One finding for each case whose memory was measured; where it was not, the timing gate says why."""
    return [
        _judge_case(result, reference)
        for result in run.cases
        if GATE in result.outcomes and result.outcomes[GATE].status is Status.MEASURED
    ]


def _judge_case(result: CaseResult, reference: Reference) -> Finding:
    stored = reference.memory.get(result.id)
    if stored is None or stored.version != result.case.version:
        text = f"not in {reference.name}{reference.advice}"
        return Finding(case=result.id, gate=GATE, verdict=Verdict.NO_BASELINE, summary=text)
    peaks = [one.memory.allocated_peak_bytes for one in result.timings if one.memory.allocated_peak_bytes is not None]
    if not peaks:
        return Finding(case=result.id, gate=GATE, verdict=Verdict.FAILED, summary="no launch told its peak")
    accepted = stored.allocated_peak_bytes
    room = max(MIN_GROWTH_BYTES, GROWTH * accepted)
    low, high = min(peaks), max(peaks)
    verdict = Verdict.PASS
    text = f"peak of {high} bytes, {accepted} in the baseline"
    if low > accepted + room:
        verdict, text = (
            Verdict.REGRESSED,
            f"holds {_mib(low - accepted)} more at its peak than the {_mib(accepted)} of the baseline",
        )
    elif used := _used_growth(result, stored):
        verdict, text = Verdict.REGRESSED, used
    elif low != high:
        verdict, text = Verdict.INCONCLUSIVE, f"launches disagree: peaks of {low} to {high} bytes"
    elif high < accepted - room:
        verdict, text = Verdict.IMPROVED, f"holds {_mib(accepted - high)} less at its peak"
    change = high / accepted - 1 if accepted > 0 else 0.0
    return Finding(
        case=result.id,
        gate=GATE,
        verdict=verdict,
        summary=text,
        change=change,
        evidence={"allocated_peak_bytes": high, "baseline_bytes": accepted, "room_bytes": room},
    )


def _used_growth(result: CaseResult, stored: MemoryLine) -> str | None:
    """Why all that the GPU has in use is too much, or None."""
    alone = [
        one for one in result.undisturbed if one.memory.gpu_used_bytes is not None and one.gpu and one.gpu.foreign == 0
    ]
    if stored.gpu_used_bytes is None or not alone:
        return None
    used = min(one.memory.gpu_used_bytes or 0 for one in alone)
    room = max(MIN_USED_GROWTH_BYTES, USED_GROWTH * stored.gpu_used_bytes)
    if used <= stored.gpu_used_bytes + room:
        return None
    return f"the GPU has {_mib(used)} in use, {_mib(stored.gpu_used_bytes)} in the baseline"


def _mib(nbytes: float) -> str:
    return f"{nbytes / MIB:.2f} MiB"
