"""Controls: fixed operations timed around a case."""

from __future__ import annotations

import pytest

from bnsuite.measure import devices
from bnsuite.measure.control import LAUNCH, Controls
from fake_queue import FakeGpu


def test_controls_are_sampled_on_both_sides_of_a_case() -> None:
    """Five rounds of each before it and after it."""
    controls = Controls(1 << 16, devices.get("cpu"))
    controls.sample()
    controls.sample()
    assert set(controls.samples) == {"copy", "linear"}
    assert all(len(samples) == 10 and min(samples) > 0 for samples in controls.samples.values())


def test_a_gpu_has_a_control_of_its_arithmetic_and_one_of_its_host() -> None:
    """The launch control is the host's time, which the others are without."""
    device = FakeGpu()
    steps = {name: device.queue.kernels(1, 7e-6, 3e-6) for name in device.controls}
    controls = Controls(None, device)
    controls._steps.update(steps)
    controls.sample()
    assert set(controls.samples) == {"copy", "linear", "compute", LAUNCH}
    for name, samples in controls.samples.items():
        assert samples == pytest.approx([3e-6 if name == LAUNCH else 7e-6] * 5)
