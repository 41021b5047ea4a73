"""The memory gate: a step holds no more than it did, to the byte."""

from __future__ import annotations

import pytest

from bnsuite.judge.memory import judge
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.lines import MemoryLine
from bnsuite.record.reference import Reference
from bnsuite.record.schema import Memory, Outcome, Status
from conftest import make_run, result, timing, watched

NAME = "memory/x"
MIB = 1 << 20


def finding(
    *peaks: int | None,
    accepted: int = 10 * MIB,
    used: int | None = None,
    stored_used: int | None = None,
    foreign: int | None = 0,
) -> Finding:
    timings = tuple(
        timing(1e-3, gpu=watched(foreign)).model_copy(
            update={"memory": Memory(allocated_peak_bytes=peak, gpu_used_bytes=used)}
        )
        for peak in peaks
    )
    line = MemoryLine(
        schema=1,
        id=NAME,
        version=1,
        profiles=("quick",),
        torch="2.14.1",
        allocated_peak_bytes=accepted,
        gpu_used_bytes=stored_used,
    )
    (one,) = judge(
        make_run(result(NAME, timings=timings)), Reference(name="baselines/", lines={"memory": {NAME: line}})
    )
    return one


@pytest.mark.parametrize(
    ("peaks", "verdict"),
    [
        ((10 * MIB,) * 3, Verdict.PASS),
        ((11 * MIB,) * 3, Verdict.PASS),
        ((11 * MIB + 1,) * 3, Verdict.REGRESSED),
        ((12 * MIB, 13 * MIB, 14 * MIB), Verdict.REGRESSED),
        ((10 * MIB, 10 * MIB, 10 * MIB + 4), Verdict.INCONCLUSIVE),
        ((10 * MIB, 12 * MIB, 12 * MIB), Verdict.INCONCLUSIVE),
        ((8 * MIB,) * 3, Verdict.IMPROVED),
    ],
)
def test_launches_agree_to_the_byte(peaks: tuple[int, ...], verdict: Verdict) -> None:
    """A MiB more is let pass, two are not; launches that disagree decide only what all of them show."""
    assert finding(*peaks).verdict is verdict


def test_a_large_step_may_grow_by_half_a_percent() -> None:
    assert finding(1003 * MIB, accepted=1000 * MIB).verdict is Verdict.PASS
    assert finding(1006 * MIB, accepted=1000 * MIB).verdict is Verdict.REGRESSED


def test_what_the_gpu_has_in_use_is_shown_and_judges_nothing() -> None:
    """It contains what libraries took for other cases of the process; beside another process it is not even shown."""
    gib = 1 << 30
    grown = finding(10 * MIB, used=2 * gib, stored_used=gib)
    assert grown.verdict is Verdict.PASS
    assert (grown.evidence["gpu_used_bytes"], grown.evidence["baseline_gpu_used_bytes"]) == (2 * gib, gib)
    assert finding(8 * MIB, used=2 * gib, stored_used=gib).verdict is Verdict.IMPROVED
    assert "gpu_used_bytes" not in finding(10 * MIB, used=2 * gib, stored_used=gib, foreign=1).evidence


def test_without_a_baseline_there_is_no_verdict() -> None:
    run = make_run(result(NAME, timings=(timing(1e-3),)))
    (one,) = judge(run, Reference(name="baselines/"))
    assert one.verdict is Verdict.NO_BASELINE


def test_what_failed_is_told_by_the_timing_gate_alone() -> None:
    """One crash is one finding."""
    failed = Outcome(status=Status.FAILED, reason="it died")
    run = make_run(result(NAME, outcomes={"timing": failed, "memory": failed}))
    assert judge(run, Reference(name="baselines/")) == []
