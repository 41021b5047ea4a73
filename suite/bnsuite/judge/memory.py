"""The memory gate: the peak of a step has not grown.

Bytes in torch's allocator are exact, so that launches must agree to the byte; the tolerance is a share, or a MiB that
an allocator may round up to. The memory in use on the whole GPU is shown and judges nothing: it contains what libraries
and kernels took that other cases of the same process loaded, and changes with the driver.
"""

from __future__ import annotations

from bnsuite.judge.gate import Gate
from bnsuite.judge.outcomes import finding, without_reference
from bnsuite.judge.reason import ReasonCode, reason
from bnsuite.judge.verdict import EvidenceValue, Finding, Verdict
from bnsuite.record.lines import MEMORY, MemoryLine
from bnsuite.record.reference import Reference
from bnsuite.record.schema import CaseResult, Run, Status

GATE = "memory"

MIB = 1 << 20
#: The tolerance of the allocator's peak: the larger of the two.
MIN_GROWTH_BYTES, GROWTH = MIB, 0.005


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
        evidence={
            "allocated_peak_bytes": high,
            "baseline_bytes": accepted,
            "room_bytes": room,
            **_used(result, stored),
        },
    )


def _used(result: CaseResult, stored: MemoryLine) -> dict[str, EvidenceValue]:
    """Returns the memory in use on the GPU where bnsuite was alone on it, and that of the baseline, as far as known."""
    alone = [one.memory.gpu_used_bytes for one in result.undisturbed if one.gpu is not None and one.gpu.foreign == 0]
    used = [one for one in alone if one is not None]
    now: dict[str, EvidenceValue] = {"gpu_used_bytes": min(used)} if used else {}
    before = {} if stored.gpu_used_bytes is None else {"baseline_gpu_used_bytes": stored.gpu_used_bytes}
    return {**now, **before}


MEMORY_GATE = Gate(name=GATE, judge=judge, label="memory")
