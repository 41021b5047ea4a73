"""The maker of timing samples: numbers and order of every path, on a device with a scripted clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from typing import Any

import pytest

from bnsuite.cases.execution import Execution, TimedBy
from bnsuite.measure import devices
from bnsuite.measure.clock import time_rounds
from bnsuite.measure.devices.held_queue import Pace
from bnsuite.measure.timed_case import RATIO, RUN, CoreShare, Policy, TimedCase, TimedRatio, seconds_of_case
from bnsuite.record.schema import Timing
from fake_device import SUMMARY, FakeCase, FakeDevice, FakeRatio
from fake_queue import LAUNCH_S, FakeGpu, QueuedCase


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
    assert in_short(device.log)[4:] == ["watch every 0.05 s", "fake", "stop", "memory", "fake smoke step"]
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
    assert device.log[begin:] == ["watch every 0.05 s", *["flush", "fake"] * 7, "stop"]


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
    assert in_short(device.log)[-3:] == ["watch every 1 s", "fake", "stop"]


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
    assert device.log[begin:] == ["watch every 0.05 s", "this", "than", "than", "this", "this", "than", "stop"]
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
    """Elsewhere the CPU time of the waiting thread means nothing."""
    with CoreShare(devices.get("cpu")) as on_core:
        sum(range(100_000))
    with CoreShare(FakeDevice()) as elsewhere:
        sum(range(1000))
    assert on_core.value is not None
    assert 0 < on_core.value < 1.1
    assert elsewhere.value is None


# On a device with a queue of its own


def test_rounds_are_longer_where_a_device_has_a_queue_and_fit_into_it() -> None:
    """The budget counts what the host takes as well: a step of 2 µs costs that of launching it."""
    policy = RUN.on(FakeGpu())
    assert RUN.on(FakeDevice()) == RUN
    assert policy.plan([Pace(100e-6, 110e-6)]) == (20, 50)
    assert policy.plan([Pace(2e-6, 42e-6, 400)]) == (14, 400)


def test_a_short_step_is_timed_without_its_launch() -> None:
    """The sample has both times; the warmed-up step is let go before the timed one is built."""
    device = FakeGpu()
    timed = TimedCase(QueuedCase(device=device, step_s=2e-6), device)
    with timed.conditions:
        timed.time_rounds()
    sample = timed.sample()
    assert sample.samples_s == pytest.approx([2e-6] * timed.rounds)
    assert sample.host_s == pytest.approx([LAUNCH_S] * timed.rounds)
    assert (sample.held, sample.cpu_share) == (True, None)
    assert set(sample.controls_s) == {"copy", "linear", "compute", "launch"}
    recorded = Timing.model_validate_json(json.dumps({**asdict(sample), "controls_s": {"copy": [1e-6]}}))
    assert (recorded.held, recorded.host_s) == (True, pytest.approx(tuple(sample.host_s or ())))
    assert device.log[:3] == ["fake build 0", "warm clocks", "fake build 0"]


def test_pytest_benchmark_sees_each_round_that_was_held() -> None:
    """All rounds are launched by the first call; the clock advances by one of them per call."""
    device = FakeGpu()
    timed = TimedCase(QueuedCase(device=device, step_s=100e-6), device)
    seen = []
    for _ in range(timed.rounds):
        begin_s = seconds_of_case()
        timed.next_round()
        seen.append(seconds_of_case() - begin_s)
    assert seen == pytest.approx([100e-6] * timed.rounds)
    assert timed.sample(seen).samples_s == pytest.approx(seen)


def test_a_step_that_waits_for_the_device_is_timed_as_it_elapses() -> None:
    """It can't be held, and the sample says so."""
    device = FakeGpu()
    timed = TimedCase(QueuedCase(device=device, step_s=2e-6, waits=True), device)
    timed.time_rounds()
    sample = timed.sample()
    assert sample.held is False
    assert min(sample.samples_s) >= LAUNCH_S + 2e-6


def test_an_epoch_is_timed_as_it_elapses() -> None:
    """No queue takes an epoch; the first one is not preceded by another on the same weights."""
    device = FakeGpu()
    case = QueuedCase(device=device, step_s=2e-6, host_s=30e-6, fixed_rounds=3, by=TimedBy.ELAPSED)
    timed = TimedCase(case, device)
    timed.time_rounds()
    sample = timed.sample()
    assert (timed.rounds, timed.iterations, sample.held) == (3, 1, False)
    assert min(sample.samples_s) > 30e-6
    assert sample.host_s == pytest.approx([30e-6] * 3)


def test_cold_and_hot_are_held_alike() -> None:
    """The flush takes the device longer than the host, and neither is in the time of the step."""
    device = FakeGpu()
    flush = device.queue.kernels(1, 80e-6)
    device.flush = lambda: flush  # type: ignore[method-assign]
    timed = TimedCase(QueuedCase(device=device, step_s=3e-6, way=Execution.COLD), device)
    timed.time_rounds()
    sample = timed.sample()
    assert timed.iterations == 1
    assert sample.samples_s == pytest.approx([3e-6] * timed.rounds)
    assert sample.held is True


def test_both_sides_of_a_ratio_are_held_and_their_hosts_timed() -> None:
    """A ratio of launches is another number than a ratio of kernels."""
    device = FakeGpu()
    pair: Any = FakeRatio(
        QueuedCase(device=device, name="this", step_s=4e-6, host_s=20e-6),
        QueuedCase(device=device, name="than", step_s=2e-6),
    )
    timed = TimedRatio(pair, device)
    device.queue.launches = 0
    for _ in range(3):
        timed()
    assert device.queue.launches == 3 * 2 * (1 + timed.iterations), "a spin and a round of each side, three times"
    sample = timed.sample()
    assert sample.samples_s == pytest.approx([4e-6] * 3)
    assert sample.controls_s["partner"] == pytest.approx([2e-6] * 3)
    assert sample.host_s == pytest.approx([20e-6] * 3)
    assert sample.controls_s["partner_host"] == pytest.approx([LAUNCH_S] * 3)
    assert sample.held is True
