"""The gate of CPU time: a step costs no more of it than wall time explains.

A release may keep twice as many cores busy for steps that take as long, as where threads spin while they wait
(pytorch/pytorch#177906). The number is the CPU time of all threads per step. Its change beyond that of wall time,
in either direction, is judged: a step that is slower costs more, which the timing gate says, and one that shares its
work among more cores is faster in return. A case that keeps a single core busy is not judged, since its CPU time
is its wall time; nor is one on a GPU, whose host spins while it waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, expm1, log, log1p
from statistics import median

from bnsuite.judge import blocks, interleaved
from bnsuite.judge.gate import Gate
from bnsuite.judge.outcomes import finding
from bnsuite.judge.reason import ReasonCode, reason
from bnsuite.judge.verdict import EvidenceValue, Finding, Verdict
from bnsuite.record.interleaved import InterleavedTimes, PairedCase
from bnsuite.record.reference import Reference, TimingReference
from bnsuite.record.schema import CaseResult, Run

GATE = "cpu-time"

#: More cores than this are kept busy by more than one thread, on either side.
MIN_CORES = 1.1
#: The CPU time that a step may cost beyond what wall time explains: between two environments by turns, and
#: against a stored number, which was taken on another day. A doubling is 100 %.
MARGIN, STORED_MARGIN = 0.25, 0.5
#: The launches of a comparison that a verdict needs.
MIN_LAUNCHES = interleaved.FIRST_LOOK


@dataclass(frozen=True)
class Launch:
    """The changes of one launch (log scale), and the cores that were kept busy before and now."""

    cpu: float
    wall: float
    cores: tuple[float, float]
    #: How far the accepted launches are from one another.
    spread: float = 0.0

    @property
    def more(self) -> float:
        """How much more CPU time a step costs than its wall time, and chance, explain."""
        return self.cpu - abs(self.wall) - self.spread

    @property
    def less(self) -> float:
        """How much less, in negative numbers."""
        return self.cpu + abs(self.wall) + self.spread


def judge(run: Run, reference: Reference) -> list[Finding]:
    """Returns one finding per case that keeps several cores busy, and of which the reference has the number."""
    if run.device != "cpu":
        return []
    found = []
    for result in run.cases:
        stored = reference.timing.get(result.id)
        if stored is not None and stored.version == result.case.version and result.case.kind != "ratio":
            launches = _since(result, stored)
            if len(launches) > run.options.launches // 2 and _several_cores(launches):
                found.append(_stored(result, launches))
    return found


def _since(result: CaseResult, stored: TimingReference) -> list[Launch]:
    """Returns the launches of a run against the median of the accepted ones."""
    known = [one for run in stored.runs for one in run if one.cores_busy]
    if not known:
        return []
    before = median(one.cores_busy for one in known if one.cores_busy)
    before_s = median(one.median_s for one in known)
    spread = max(abs(log(one.cores_busy / before)) for one in known if one.cores_busy)
    found = []
    for timing in result.undisturbed:
        if timing.cores_busy:
            wall = log(median(timing.samples_s) / before_s)
            cpu = wall + log(timing.cores_busy / before)
            found.append(Launch(cpu, wall, (before, timing.cores_busy), spread))
    return found


def _stored(result: CaseResult, launches: Sequence[Launch]) -> Finding:
    """Returns the verdict against stored launches, which are few: all of them must show a change."""
    limit = log1p(STORED_MARGIN)
    if all(one.more > limit for one in launches):
        return _finding(result, Verdict.REGRESSED, launches, STORED_MARGIN)
    if all(one.less < -limit for one in launches):
        return _finding(result, Verdict.IMPROVED, launches, STORED_MARGIN)
    within = median(one.more for one in launches) <= limit
    return _finding(result, Verdict.PASS if within else Verdict.INCONCLUSIVE, launches, STORED_MARGIN)


def between(run: Run, times: InterleavedTimes) -> list[Finding]:
    """Returns one finding per case of `run`, which is B's, that keeps several cores busy on either side."""
    if run.device != "cpu":
        return []
    timed = {result.id: result for result in interleaved.timed_cases(run)}
    found = []
    for compared in times.cases:
        result = timed.get(compared.id)
        launches = of_comparison(compared)
        if result is not None and len(launches) >= MIN_LAUNCHES and _several_cores(launches):
            found.append(_compared(result, launches, interleaved.RUN_ALPHA / len(timed)))
    return found


def of_comparison(compared: PairedCase) -> list[Launch]:
    """Returns the launches of a case that count, those made to confirm included."""
    found = []
    for one in compared.launches:
        wall = blocks.value(one)
        busy = blocks.cores_busy(one)
        if wall is not None and busy is not None:
            found.append(Launch(busy.change + wall, wall, (busy.a, busy.b)))
    return found


def _several_cores(launches: Sequence[Launch]) -> bool:
    return any(median(one.cores[side] for one in launches) > MIN_CORES for side in (0, 1))


def _compared(result: CaseResult, launches: Sequence[Launch], alpha: float) -> Finding:
    """Returns the verdict of a comparison, by one look at all launches, whose number the timing gate chose."""
    limit = log1p(MARGIN)
    more = interleaved.estimate([one.more for one in launches])
    less = interleaved.estimate([one.less for one in launches])
    evidence: dict[str, EvidenceValue] = {"p": more.p_above(limit)}
    if more.p_above(limit) < alpha:
        return _finding(result, Verdict.REGRESSED, launches, MARGIN, evidence)
    if less.p_below(-limit) < alpha:
        return _finding(result, Verdict.IMPROVED, launches, MARGIN, evidence)
    within = more.p_below(limit) < interleaved.PASS_ALPHA
    return _finding(result, Verdict.PASS if within else Verdict.INCONCLUSIVE, launches, MARGIN, evidence)


_CODES = {
    Verdict.REGRESSED: ReasonCode.CPU_TIME_ABOVE,
    Verdict.IMPROVED: ReasonCode.CPU_TIME_BELOW,
    Verdict.PASS: ReasonCode.CPU_TIME_WITHIN,
    Verdict.INCONCLUSIVE: ReasonCode.CPU_TIME_UNDECIDED,
}


def _finding(
    result: CaseResult,
    verdict: Verdict,
    launches: Sequence[Launch],
    margin: float,
    evidence: dict[str, EvidenceValue] | None = None,
) -> Finding:
    change, wall = (expm1(median(values)) for values in ([one.cpu for one in launches], [one.wall for one in launches]))
    before, now = (median(one.cores[side] for one in launches) for side in (0, 1))
    why = reason(
        _CODES[verdict],
        change=change,
        wall=wall,
        cores=[before, now],
        limit=margin,
        launches=len(launches),
    )
    numbers: dict[str, EvidenceValue] = {
        "cores_busy": now,
        "cores_busy_before": before,
        "beyond_wall_time": exp(median(one.more for one in launches)) - 1,
        "launches": len(launches),
        **_per_step(result),
        **(evidence or {}),
    }
    return finding(result, GATE, verdict, why).model_copy(update={"change": change, "evidence": numbers})


def _per_step(result: CaseResult) -> dict[str, EvidenceValue]:
    """Returns the CPU seconds of a step, the median over launches."""
    known = [median(one.samples_s) * one.cores_busy for one in result.undisturbed if one.cores_busy is not None]
    return {"cpu_s": median(known)} if known else {}


CPU_TIME_GATE = Gate(name=GATE, judge=judge, label="CPU time")
