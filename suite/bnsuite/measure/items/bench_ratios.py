"""Every ratio of the catalogue as a pytest-benchmark item: two steps timed by turns, one round a block of each.

pytest-benchmark shows and writes the seconds per step of the ratio's own case: the plugin gives these items a clock
that advances by nothing else. ``extra_info`` names the case that it is compared with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnsuite.measure.plugin import MEASURED
from bnsuite.measure.timed_case import TimedRatio

if TYPE_CHECKING:
    import pytest
    from pytest_benchmark.fixture import BenchmarkFixture

    from bnsuite.cases import RatioCase
    from bnsuite.measure.devices import Device


def test_ratio(ratio: RatioCase, device: Device, benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> None:
    """Times the two steps of one ratio."""
    timed = TimedRatio(ratio, device)
    benchmark.extra_info.update(case=ratio.id, version=ratio.version, device=device.name)
    benchmark.extra_info.update(times=ratio.numerator.id, partner=ratio.denominator.id)
    with timed.conditions:
        benchmark.pedantic(timed, rounds=timed.rounds, iterations=1)
    if benchmark.stats is not None:
        request.node.stash[MEASURED] = timed.sample()
