"""The memory gate: the peak of a step has not grown.

Bytes in torch's allocator are exact, so that launches must agree to the byte; the tolerance is a share, or a MiB that
an allocator may round up to. The memory in use on the GPU is coarser, and counts only where bnsuite was alone on it.
"""

from __future__ import annotations

from bnsuite.judge.gate import Gate
from bnsuite.judge.outcomes import finding, without_reference
from bnsuite.judge.reason import Reason, ReasonCode, reason
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.lines import MEMORY, MemoryLine
from bnsuite.record.reference import Reference
from bnsuite.record.schema import CaseResult, Run, Status

GATE = "memory"

MIB = 1 << 20
#: The tolerance of the allocator's peak: the larger of the two.
MIN_GROWTH_BYTES, GROWTH = MIB, 0.005
#: The tolerance of the memory in use on the whole GPU.
MIN_USED_GROWTH_BYTES, USED_GROWTH = 64 * MIB, 0.05


def judge(run: Run, reference: Reference) -> list[Finding]:
    """Returns one finding for each case whose memory was measured; the timing gate says why others were not."""
    accepted = MEMORY.lines_of(reference.lines)
    return [
        _judge_case(result, accepted.get(result.id), reference)
        for result in run.cases
        if GATE in result.outcomes and result.outcomes[GATE].status is Status.MEASURED
    ]


def _judge_case(result: CaseResult, stored: MemoryLine | None, reference: Reference) -> Finding:
    if stored is None or stored.version != result.case.version:
        return without_reference(result, GATE, reference, None if stored is None else stored.version)
    peaks = [one.memory.allocated_peak_bytes for one in result.timings if one.memory.allocated_peak_bytes is not None]
    if not peaks:
        return finding(result, GATE, Verdict.FAILED, reason(ReasonCode.NO_PEAK))
    accepted = stored.allocated_peak_bytes
    room = max(MIN_GROWTH_BYTES, GROWTH * accepted)
    low, high = min(peaks), max(peaks)
    verdict, why = Verdict.PASS, reason(ReasonCode.PEAK_WITHIN, peak=high, baseline=accepted)
    if low > accepted + room:
        verdict, why = Verdict.REGRESSED, reason(ReasonCode.PEAK_ABOVE, peak=low, baseline=accepted)
    elif used := _used_growth(result, stored):
        verdict, why = Verdict.REGRESSED, used
    elif low != high:
        verdict, why = Verdict.INCONCLUSIVE, reason(ReasonCode.PEAKS_DIFFER, low=low, high=high)
    elif high < accepted - room:
        verdict, why = Verdict.IMPROVED, reason(ReasonCode.PEAK_BELOW, peak=high, baseline=accepted)
    change = high / accepted - 1 if accepted > 0 else 0.0
    return Finding(
        case=result.id,
        gate=GATE,
        verdict=verdict,
        reason=why,
        change=change,
        evidence={"allocated_peak_bytes": high, "baseline_bytes": accepted, "room_bytes": room},
    )


def _used_growth(result: CaseResult, stored: MemoryLine) -> Reason | None:
    """Returns the growth of the memory in use on the GPU, if it is beyond the tolerance."""
    alone = [
        one for one in result.undisturbed if one.memory.gpu_used_bytes is not None and one.gpu and one.gpu.foreign == 0
    ]
    if stored.gpu_used_bytes is None or not alone:
        return None
    used = min(one.memory.gpu_used_bytes or 0 for one in alone)
    room = max(MIN_USED_GROWTH_BYTES, USED_GROWTH * stored.gpu_used_bytes)
    if used <= stored.gpu_used_bytes + room:
        return None
    return reason(ReasonCode.GPU_USE_ABOVE, used=used, baseline=stored.gpu_used_bytes)


MEMORY_GATE = Gate(name=GATE, judge=judge, label="memory")
