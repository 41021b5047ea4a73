"""The maker of timing samples: numbers and order of every path, on a device with a scripted clock."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest

from bnsuite.cases.execution import Execution
from bnsuite.measure import devices
from bnsuite.measure.clock import time_rounds
from bnsuite.measure.devices.held_queue import Pace
from bnsuite.measure.timed_case import RATIO, RUN, CoreShare, Policy, TimedCase, TimedRatio, seconds_of_case
from fake_device import SUMMARY, FakeCase, FakeDevice, FakeRatio


def drive(timed: TimedCase, device: FakeDevice) -> list[float]:
    """The rounds that pytest-benchmark would time."""
    with timed.conditions:
        return time_rounds(timed.step, device.clock, timed.rounds, timed.iterations, timed.setup)


def in_short(log: list[str]) -> list[str]:
    """The log with runs of one entry written once."""
    return [entry for entry, _ in groupby(log)]


@pytest.mark.parametrize(
    ("policy", "steps_s", "rounds", "iterations"),
    [
        (RUN, [1e-6], 50, 1000),
        (RUN, [0.4e-3], 50, 2),
        (RUN, [5e-3], 50, 1),
        (RUN, [10e-3], 25, 1),
        (RUN, [1.0], 7, 1),
        (RATIO, [1e-6, 1e-6], 40, 1000),
        (RATIO, [1e-3, 9e-3], 30, 1),
        (RATIO, [1.0, 1.0], 8, 1),
    ],
)
def test_rounds_fill_the_budget(policy: Policy, steps_s: list[float], rounds: int, iterations: int) -> None:
    """A round lasts about a millisecond, and all rounds about the budget, within the policy's bounds."""
    assert policy.plan([Pace(step_s, step_s) for step_s in steps_s]) == (rounds, iterations)


def test_a_round_of_a_cold_case_is_one_step() -> None:
    """Only the first step after the caches were emptied is cold."""
    assert RUN.plan([Pace(1e-6, 1e-6)], cold=True) == (50, 1)


def test_a_case_is_warmed_up_built_again_and_timed_between_its_controls() -> None:
    """The step that is warmed up is not the one that is timed, and memory is measured last."""
    device = FakeDevice(tick_s=1e-3)  # a round of a control takes at least that long, so that there is one step in it
    timed = TimedCase(FakeCase(device=device, step_s=9e-3, nbytes_held=4096), device)
    assert in_short(device.log) == ["fake build 0", "fake", "fake build 0", "fake"]
    samples_s = drive(timed, device)
    sample = timed.sample(samples_s)
    assert in_short(device.log)[4:] == ["watch", "fake", "stop", "memory", "fake smoke step"]
    assert (timed.rounds, timed.iterations, timed.setup) == (25, 1, None)
    assert sample.samples_s == pytest.approx([10e-3] * 25)
    assert {name: len(values) for name, values in sample.controls_s.items()} == {"copy": 10, "linear": 10}
    assert all(value == pytest.approx(1e-3) for values in sample.controls_s.values() for value in values)
    assert (sample.iterations, sample.examples, sample.gpu, sample.cpu_share) == (1, 32, SUMMARY, None)
    assert sample.memory == {"allocated_peak_bytes": 4096}


def test_caches_are_emptied_before_each_round_of_a_cold_case() -> None:
    """The flush is outside the timed part."""
    device = FakeDevice(tick_s=1e-3)
    timed = TimedCase(FakeCase(device=device, step_s=99e-3, way=Execution.COLD), device)
    begin = len(device.log)
    assert drive(timed, device) == pytest.approx([100e-3] * 7)
    assert device.log[begin:] == ["watch", *["flush", "fake"] * 7, "stop"]


@pytest.mark.parametrize(("way", "asked"), [(Execution.GRAPH, "capture"), (Execution.NATIVE, "without cuDNN")])
def test_a_declared_execution_is_applied_to_every_step_that_is_built(way: Execution, asked: str) -> None:
    """To the step that warms up as to the step that is timed."""
    device = FakeDevice(tick_s=1e-3)
    TimedCase(FakeCase(device=device, step_s=0.1, way=way), device)
    assert in_short(device.log) == ["fake build 0", asked, "fake", "fake build 0", asked, "fake"]


def test_epochs_are_timed_untrained_with_sensors_sampled_meanwhile() -> None:
    """A case with rounds of its own gets just those, and its timed step has not run before."""
    device = FakeDevice(tick_s=1e-3)
    timed = TimedCase(FakeCase(device=device, fixed_rounds=3), device)
    assert device.log[-1] == "fake build 0"
    assert len(drive(timed, device)) == 3
    assert in_short(device.log)[-3:] == ["watch every 0.1 s", "fake", "stop"]


def test_a_long_epoch_is_warmed_up_by_a_part_of_it() -> None:
    """A whole epoch would take about a second."""
    device = FakeDevice(tick_s=1e-3)
    TimedCase(FakeCase(device=device, fixed_rounds=3, long=True), device)
    assert device.log == ["fake build 0", "fake smoke step", "fake build 0"]


def test_telemetry_stops_when_a_step_raises() -> None:
    """No thread samples on into the next case."""
    device = FakeDevice(tick_s=1e-3)
    timed = TimedCase(FakeCase(device=device, fixed_rounds=1), device)
    with pytest.raises(RuntimeError, match="lost"), timed.conditions:
        raise RuntimeError("the GPU is lost")
    assert device.log[-1] == "stop"


@pytest.fixture
def ratio() -> Iterator[tuple[TimedRatio, FakeDevice]]:
    """A ratio of a step of 20 ms to one of 40 ms, and its device."""
    device = FakeDevice()
    pair: Any = FakeRatio(
        FakeCase(device=device, name="this", step_s=20e-3), FakeCase(device=device, name="than", step_s=40e-3)
    )
    return TimedRatio(pair, device), device


def test_the_sides_of_a_ratio_take_turns_to_begin(ratio: tuple[TimedRatio, FakeDevice]) -> None:
    """What drifts over a round favours neither side."""
    timed, device = ratio
    begin = len(device.log)
    with timed.conditions:
        for _ in range(3):
            timed()
    assert device.log[begin:] == ["watch", "this", "than", "than", "this", "this", "than", "stop"]
    assert (timed.rounds, timed.iterations) == (8, 1)
    sample = timed.sample()
    assert sample.samples_s == pytest.approx([20e-3] * 3)
    assert sample.controls_s == {"partner": pytest.approx([40e-3] * 3)}
    assert sample.memory == {"allocated_peak_bytes": None}
    assert (sample.examples, sample.gpu) == (None, SUMMARY)


def test_the_clock_of_a_ratio_shows_its_own_case_only(ratio: tuple[TimedRatio, FakeDevice]) -> None:
    """Between two readings around a round lie the seconds of one step of the case, without its partner's."""
    timed, _ = ratio
    for _ in range(2):
        begin_s = seconds_of_case()
        timed()
        assert seconds_of_case() - begin_s == pytest.approx(20e-3)


def test_the_share_of_a_core_is_measured_where_the_work_is_done_on_it() -> None:
    """Elsewhere the processor time of the waiting thread means nothing."""
    with CoreShare(devices.get("cpu")) as on_core:
        sum(range(100_000))
    with CoreShare(FakeDevice()) as elsewhere:
        sum(range(1000))
    assert on_core.value is not None
    assert 0 < on_core.value < 1.1
    assert elsewhere.value is None
