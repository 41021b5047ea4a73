"""Every case of the catalogue as a pytest-benchmark item."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bnsuite.cases.data import DataError
from bnsuite.measure import clock, memory
from bnsuite.measure.control import Controls
from bnsuite.measure.items.surroundings import SAMPLED_EVERY_S, Surroundings
from bnsuite.measure.plugin import MEASURED
from bnsuite.measure.settle import ROUND_S, flush, settle

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from bnsuite.cases import Case

#: A case is short enough for the quick profile.
CASE_S = 0.25
MIN_ROUNDS, MAX_ROUNDS = 7, 50


def test_case(case: Case, measured_device: str, benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> None:
    ticks = clock.for_device(measured_device)
    # What warms up is not what is timed: a training starts its rounds untrained.
    try:
        warm = case.build(measured_device)
    except DataError as error:  # a run has staged its data; plain pytest finds out here
        pytest.skip(str(error))
    iterations = 1
    if case.rounds is None:
        step_s = settle(warm, measured_device)
        iterations = 1 if case.cold else max(1, round(ROUND_S / step_s))
        rounds = min(MAX_ROUNDS, max(MIN_ROUNDS, int(CASE_S / (step_s * iterations))))
    else:
        rounds = case.rounds
        case.smoke_step(warm)() if case.long else settle(warm, measured_device)
    step = case.build(measured_device)
    if case.rounds is None:
        step()  # what is done once, compiling among it, is no part of the first round

    controls = Controls(case.nbytes, measured_device, ticks)
    controls.sample()
    benchmark.extra_info.update(case=case.id, version=case.version, device=measured_device)
    setup = flush(measured_device) if case.cold else None
    # Epochs are long: what happens within them is sampled beside them.
    with Surroundings(
        request.config, measured_device, period_s=None if case.rounds is None else SAMPLED_EVERY_S
    ) as seen:
        benchmark.pedantic(step, setup=setup, rounds=rounds, iterations=iterations)
    timed = benchmark.stats
    if timed is None:  # --benchmark-disable: whoever asks for it wants the step run once, no more
        return
    controls.sample()
    request.node.stash[MEASURED] = {
        "samples_s": list(timed.stats.data),
        "iterations": iterations,
        "controls_s": controls.samples,
        "cpu_share": seen.cpu_share,
        "gpu": seen.gpu,
        "examples": case.examples(step),
        "memory": memory.measure(case.smoke_step(step), measured_device),
    }
