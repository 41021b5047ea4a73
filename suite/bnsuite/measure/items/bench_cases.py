"""Every case of the catalogue as a pytest-benchmark item."""

from __future__ import annotations

from time import perf_counter, thread_time
from typing import TYPE_CHECKING

import pytest

from bnsuite.cases.data import DataError
from bnsuite.measure import clock, memory
from bnsuite.measure.control import Controls
from bnsuite.measure.plugin import MEASURED

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from bnsuite.cases import Case, Step

#: A round is long enough for the clock, a case short enough for the quick profile.
ROUND_S = 1e-3
CASE_S = 0.25
MIN_ROUNDS, MAX_ROUNDS = 7, 50
WARM_UP_S = {"cpu": 0.02, "cuda": 0.5}


def test_case(case: Case, measured_device: str, benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> None:
    ticks = clock.for_device(measured_device)
    # What warms up is not what is timed: a training starts its rounds untrained.
    try:
        warm = case.build(measured_device)
    except DataError as error:  # a run has staged its data; plain pytest finds out here
        pytest.skip(str(error))
    iterations = 1
    if case.rounds is None:
        step_s = _warm_up(warm, measured_device)
        iterations = max(1, round(ROUND_S / step_s))
        rounds = min(MAX_ROUNDS, max(MIN_ROUNDS, int(CASE_S / (step_s * iterations))))
    else:
        rounds = case.rounds
        case.brief(warm)() if case.long else _warm_up(warm, measured_device)
    step = case.build(measured_device)

    controls = Controls(case.nbytes, measured_device, ticks)
    controls.sample()
    benchmark.extra_info.update(case=case.id, version=case.version, device=measured_device)
    begin_s, begin_cpu_s = perf_counter(), thread_time()
    benchmark.pedantic(step, rounds=rounds, iterations=iterations)
    wall_s, cpu_s = perf_counter() - begin_s, thread_time() - begin_cpu_s
    timed = benchmark.stats
    if timed is None:  # --benchmark-disable: whoever asks for it wants the step run once, no more
        return
    controls.sample()
    request.node.stash[MEASURED] = {
        "samples_s": list(timed.stats.data),
        "iterations": iterations,
        "controls_s": controls.samples,
        # On a CPU this thread works all the time; where it did not, something else had its core.
        "cpu_share": cpu_s / wall_s if measured_device == "cpu" else None,
        "memory": memory.measure(case.brief(step), measured_device),
    }


def _warm_up(step: Step, device: str) -> float:
    """Run `step` until it has settled and return about how many seconds one takes."""
    ticks = clock.for_device(device)
    step()  # the first step pays for loading and tuning
    step_s = min(clock.time_rounds(step, ticks, 2))
    end = perf_counter() + WARM_UP_S[device.partition(":")[0]]
    while perf_counter() < end:
        step_s = min(step_s, *clock.time_rounds(step, ticks, 2))
    return max(step_s, 1e-9)
