"""Controls: fixed operations timed around a case."""

from __future__ import annotations

from bnsuite.measure import devices
from bnsuite.measure.control import Controls


def test_controls_are_sampled_on_both_sides_of_a_case() -> None:
    """Five rounds of each before it and after it."""
    controls = Controls(1 << 16, devices.get("cpu"))
    controls.sample()
    controls.sample()
    assert set(controls.samples) == {"copy", "linear"}
    assert all(len(samples) == 10 and min(samples) > 0 for samples in controls.samples.values())
