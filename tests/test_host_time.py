"""The host's part in the time of a GPU: shown with each case, never judged, and what follows from it for a limit."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bnsuite.judge import timing as gate
from bnsuite.judge.host_time import host_change, launch_bound, with_host_time
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.gpu import Gpu
from bnsuite.record.interleaved import PairedCase, PairedLaunch
from bnsuite.record.reference import Reference, timing_reference
from bnsuite.record.schema import Run, Timing
from bnsuite.report import table
from conftest import make_run, result, timing, watched

CASE = "op/a"
MIB = 1 << 20
NOTHING = Reference(name="baselines/")


def gpu_timing(
    median_s: float, host_s: float, *, held: bool = True, control_s: float = 1e-4, **controls_s: float
) -> Timing:
    """A launch on a GPU, with the time of its host, and more controls beside copy and product."""
    plain = timing(median_s, control_s, cpu_share=None, gpu=watched())
    more = {name: (seconds,) for name, seconds in controls_s.items()}
    return plain.model_copy(update={"host_s": (host_s,) * 3, "held": held, "controls_s": {**plain.controls_s, **more}})


def gpu_run(*timings: Timing, nbytes: int = MIB, l2_bytes: int | None = 50 * MIB) -> Run:
    run = make_run(result(CASE, timings=timings))
    gpu = Gpu(
        name="NVIDIA H100", count=1, capability="9.0", memory_total_bytes=1, driver=None, nvml=None, l2_bytes=l2_bytes
    )
    (one,) = run.cases
    return run.model_copy(
        update={
            "device": "cuda:0",
            "environment": run.environment.model_copy(update={"gpu": gpu}),
            "cases": (one.model_copy(update={"case": one.case.model_copy(update={"nbytes": nbytes})}),),
        }
    )


def judge(run: Run, stored: Reference = NOTHING) -> Finding:
    (found,) = gate.judge(run, stored)
    return found


def test_the_time_of_the_host_is_in_the_evidence() -> None:
    """With the time that was judged; a CPU's case has none of it."""
    found = judge(gpu_run(*[gpu_timing(1e-3, 20e-6)] * 3))
    assert {name: found.evidence[name] for name in ("host_s", "timed_by", "launch_bound")} == {
        "host_s": 20e-6,
        "timed_by": "device",
        "launch_bound": 0,
    }
    elapsed = judge(gpu_run(*[gpu_timing(1e-3, 2e-3, held=False)] * 3))
    assert (elapsed.evidence["timed_by"], elapsed.evidence["launch_bound"]) == ("elapsed", 0)
    on_cpu = make_run(result(CASE, timings=(timing(1e-3),) * 3))
    assert "host_s" not in judge(on_cpu).evidence


def test_a_launch_bound_step_has_no_share_of_a_limit_and_is_never_broken() -> None:
    """It seems to be twice as fast as a copy, which is as short as it is: both are the begin and end of kernels."""
    bound = gpu_run(*[gpu_timing(2e-6, 20e-6, control_s=4e-6)] * 3, nbytes=1 << 40)
    assert launch_bound(bound.cases[0])
    assert gate.share_of_limit(bound.cases[0]) is None
    assert "launch-bound" in table.markdown(bound, [judge(bound)])
    assert judge(bound).verdict is Verdict.NO_BASELINE


@pytest.mark.parametrize(
    ("nbytes", "l2_bytes", "verdict"),
    [
        (399 * MIB, 50 * MIB, Verdict.NO_BASELINE),
        (400 * MIB, 50 * MIB, Verdict.FAILED),
        (1 << 40, None, Verdict.NO_BASELINE),
    ],
)
def test_only_traffic_far_beyond_the_cache_shows_a_broken_measurement(
    nbytes: int, l2_bytes: int | None, verdict: Verdict
) -> None:
    """What stays in the last-level cache may be faster than a copy that doesn't; its size must be known."""
    run = gpu_run(*[gpu_timing(1e-4, 20e-6, control_s=2e-4)] * 3, nbytes=nbytes, l2_bytes=l2_bytes)
    assert gate.share_of_limit(run.cases[0]) == pytest.approx(2, rel=0.01)
    assert judge(run).verdict is verdict


def accepted(**controls_s: float) -> Reference:
    runs = [gpu_run(*[gpu_timing(1e-3 * (1 + n / 200), 20e-6, **controls_s)] * 3) for n in range(4)]
    return Reference(name="baselines/", timing={CASE: timing_reference(runs[0].cases[0], runs)})


def test_a_slower_host_hides_no_slower_gpu() -> None:
    """The launch control explains elapsed times only: a kernel takes 25 % longer, and launching takes twice as long."""
    stored = accepted(compute=1e-4, launch=5e-6)
    slower = judge(gpu_run(*[gpu_timing(1.25e-3, 40e-6, compute=1e-4, launch=10e-6)] * 3), stored)
    assert slower.verdict is Verdict.REGRESSED
    assert "control_launch" not in slower.evidence
    elapsed = judge(gpu_run(*[gpu_timing(1.25e-3, 40e-6, held=False, compute=1e-4, launch=10e-6)] * 3), stored)
    assert elapsed.verdict is not Verdict.REGRESSED
    assert elapsed.evidence["control_launch"] == pytest.approx(1)


def test_a_lower_clock_is_no_regression() -> None:
    """The compute-bound control shows it, which no copy does."""
    stored = accepted(compute=1e-4)
    found = judge(gpu_run(*[gpu_timing(1.2e-3, 20e-6, compute=1.25e-4)] * 3), stored)
    assert found.verdict is not Verdict.REGRESSED
    assert found.evidence["control_compute"] == pytest.approx(0.25)


def test_a_ratio_shows_the_ratio_of_its_hosts() -> None:
    """Compiled against eager, the kernels may be as fast and the launch slower."""
    one = result("ratio/x", timings=(gpu_timing(1e-3, 30e-6, partner=1e-3, partner_host=20e-6),) * 3)
    found = Finding(case="ratio/x", gate="timing", verdict=Verdict.PASS, reason=judge(gpu_run()).reason)
    assert with_host_time(found, one).evidence["host_ratio"] == pytest.approx(1.5)


def test_a_comparison_shows_the_hosts_of_both_sides() -> None:
    """How much longer B's host takes: a slower dispatcher, say, beside kernels that are as fast."""
    launch = PairedLaunch(
        a_rounds_s=((1e-3,),) * 2,
        b_rounds_s=((1e-3,),) * 2,
        a_first=(True, False),
        layouts=(0, 0),
        a_shares=(None, None),
        b_shares=(None, None),
        iterations=5,
        rounds=1,
        confirms=False,
        a_host_rounds_s=((20e-6,),) * 2,
        b_host_rounds_s=((30e-6,),) * 2,
    )
    assert host_change(PairedCase(id=CASE, launches=(launch,) * 3)) == {"host_change": pytest.approx(0.5)}
    assert host_change(PairedCase(id=CASE)) == host_change(None) == {}
    with pytest.raises(ValidationError, match="not paired"):
        PairedLaunch(**{**dict(launch), "b_host_rounds_s": ()})
