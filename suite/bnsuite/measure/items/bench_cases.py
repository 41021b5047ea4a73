"""Every case of the catalogue as a pytest-benchmark item."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bnsuite.cases.data import DataError
from bnsuite.measure.plugin import MEASURED
from bnsuite.measure.timed_case import TimedCase

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from bnsuite.cases import Case
    from bnsuite.measure.devices import Device


def test_case(case: Case, device: Device, benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> None:
    """Times the step of one case."""
    try:
        timed = TimedCase(case, device)
    except DataError as error:  # a run has staged its data; plain pytest finds out here
        pytest.skip(str(error))
    benchmark.extra_info.update(case=case.id, version=case.version, device=device.name)
    with timed.conditions:
        if device.holds_queue:  # rounds are launched together, and the plugin's clock advances by each of them
            benchmark.pedantic(timed.next_round, rounds=timed.rounds, iterations=1)
        else:
            benchmark.pedantic(timed.step, setup=timed.setup, rounds=timed.rounds, iterations=timed.iterations)
    if benchmark.stats is not None:  # None under --benchmark-disable, which runs the step once and no more
        request.node.stash[MEASURED] = timed.sample(benchmark.stats.stats.data)
