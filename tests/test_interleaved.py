"""One side of a comparison: a case held ready, timed block by block, with known faults injected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from bnsuite.cases import TrainCase, catalogue
from bnsuite.cases.execution import Execution
from bnsuite.launch.interleaved.blocks import rules_of
from bnsuite.launch.interleaved.launches import HEAP_BYTES, HEAP_TIMES
from bnsuite.launch.process import isolation
from bnsuite.launch.process.messages import BlockAnswer, ReadyAnswer
from bnsuite.measure import devices, worker
from bnsuite.measure.control import INTERLEAVED
from bnsuite.measure.devices import registry
from bnsuite.measure.fault_injection import NO_FAULT, InjectedFault
from bnsuite.measure.interleaved import InterleavedCase, pin, ready
from bnsuite.measure.timed_case import build
from fake_device import SUMMARY, FakeCase, FakeDevice
from fake_queue import LAUNCH_S, FakeGpu, QueuedCase

LAYER = "op/batch_norm1d/fwd-eval/f32/nc/64x128"
TRAINING = "train/synthetic-mlp/bn/lr=0.01"
CPU = devices.get("cpu")


def interleaved(case: FakeCase, fault: InjectedFault = NO_FAULT) -> InterleavedCase:
    return InterleavedCase(case, partial(build, case, case.device, 3), case.device, fault)


# On a device with a scripted clock


def test_a_block_is_warm_steps_and_rounds() -> None:
    """Warm steps don't count, and a sample is the round's time per step."""
    device = FakeDevice()
    case = interleaved(FakeCase(device=device, step_s=0.5))
    assert (case.step_s, case.cold, case.examples) == (0.5, False, 32)
    begin = len(device.log)
    assert case.block(rounds=3, iterations=2, warm=1)[:4] == ([0.5] * 3, None, None, None)
    assert device.log[begin:] == ["fake"] * 7


def test_the_clock_of_a_slowed_side_runs_fast_by_that_share() -> None:
    """Exactly; without a fault the clock stays as it is."""
    device = FakeDevice()
    case = interleaved(FakeCase(device=device, step_s=0.5), InjectedFault(slower=0.03))
    assert case.block(2, 1, 0)[:4] == ([pytest.approx(0.515)] * 2, None, None, None)
    assert InjectedFault(slower=0.03).clock(2.0) == pytest.approx(2.06, rel=1e-12)
    assert NO_FAULT.clock(2.0) == 2.0


def test_caches_are_emptied_before_each_round_of_a_cold_case() -> None:
    """As in a run, and the case says so to the outer half."""
    device = FakeDevice()
    case = interleaved(FakeCase(device=device, way=Execution.COLD))
    begin = len(device.log)
    case.block(2, 1, 0)
    assert case.cold
    assert device.log[begin:] == ["flush", "fake", "flush", "fake"]


def test_a_case_is_watched_from_its_warm_up_to_its_release() -> None:
    """Sensors are read after each rebuild, while the device is busy; a release frees its memory for the other side."""
    device = FakeDevice()
    case = interleaved(FakeCase(device=device))
    assert device.log[-1] == "watch every 0.1 s"
    begin = len(device.log)
    case.rebuild(64)
    assert device.log[begin:] == ["fake build 3", "fake", "sample"]
    assert case.release() == SUMMARY
    assert device.log[-2:] == ["stop", "empty caches"]
    with pytest.raises(AssertionError, match="the case was released"):
        case.block(1, 1, 0)


def test_a_control_is_not_watched() -> None:
    """Nothing is decided by what its telemetry would say."""
    device = FakeDevice(tick_s=1e-3)
    control = ready("control/copy", device, 0, NO_FAULT)
    assert control.block(2, 1, 0)[:4] == (pytest.approx([1e-3] * 2), None, None, None)
    assert control.release() is None
    assert device.log == ["empty caches"]


def test_a_block_on_a_gpu_is_held_and_has_the_time_of_the_host() -> None:
    """Its samples are the device's own; a fault slows these alone."""
    gpu = FakeGpu()
    case = interleaved(QueuedCase(device=gpu, step_s=4e-6), InjectedFault(slower=0.5))
    gpu.queue.launches = 0
    block = case.block(rounds=3, iterations=50, warm=1)
    assert gpu.queue.launches == 1 + 1 + 3 * 50, "a warm step, a spin and the rounds"
    assert block.samples_s == pytest.approx([6e-6] * 3)
    assert block.host_s == pytest.approx([LAUNCH_S] * 3)
    assert (block.held, block.cpu_share) == (True, None)
    assert BlockAnswer.model_validate_json(json.dumps(block._asdict())).held is True


def test_threads_that_spin_keep_more_cores_busy_than_the_step() -> None:
    """CPU time is that of all threads, and not of the one that calls the step; a release ends them."""
    before = set(threading.enumerate())
    case = ready(LAYER, CPU, 0, InjectedFault(spins=1))
    (spinning,) = set(threading.enumerate()) - before
    blocks = iter(lambda: case.block(rounds=10, iterations=20, warm=0), None)
    block = next(one for one in blocks if one.cores_busy and one.cpu_share and one.cores_busy > 1.2 * one.cpu_share)
    assert BlockAnswer.model_validate_json(json.dumps(block._asdict())).cores_busy == block.cores_busy
    case.release()
    spinning.join()


def test_the_launch_control_is_the_time_of_the_host() -> None:
    """The device's own time for nothing says nothing."""
    gpu = FakeGpu()
    control = InterleavedCase(None, lambda: gpu.queue.kernels(1, 1e-6), gpu, of_host=True)
    assert control.block(3, 100, 0).samples_s == pytest.approx([LAUNCH_S] * 3)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDevice]:
    """A fake device, which the worker gets when it is asked for the CPU."""
    registry.get.cache_clear()
    monkeypatch.setitem(registry.KINDS, "cpu", partial(FakeDevice, tick_s=2e-3))
    fake = registry.get("cpu")
    assert isinstance(fake, FakeDevice)
    yield fake
    worker.ANSWERS["release"]({})
    registry.get.cache_clear()


def test_the_worker_answers_a_comparison(device: FakeDevice) -> None:
    """Build, rebuild, time, measure memory, release: as the outer half asks for them."""
    request = {"device": "cpu", "case": LAYER, "seed": 0, "fault": {"slower": 0.5}}
    built = worker.ANSWERS["build"](request)
    assert built == {"step_s": pytest.approx(2e-3), "cold": False, "examples": 64, "skipped": None}
    assert worker.ANSWERS["rebuild"]({"shift": 64}) == {}
    block = worker.ANSWERS["time_block"]({"rounds": 3, "iterations": 1, "warm": 1})
    assert block.pop("cores_busy") >= 0.0
    assert block == {"samples_s": pytest.approx([3e-3] * 3), "cpu_share": None, "host_s": None, "held": None}
    assert worker.ANSWERS["measure_memory"]({}) == {"memory": {"allocated_peak_bytes": 0}}
    assert worker.ANSWERS["release"]({})["gpu"]["sm_clock_mhz_min"] == 1980
    assert device.log == ["use", "watch every 0.1 s", "sample", "memory", "stop", "empty caches"]


def test_a_second_case_takes_the_place_of_the_first(device: FakeDevice) -> None:
    """A process holds one case at most."""
    request = {"device": "cpu", "case": LAYER, "seed": 0, "fault": {}}
    worker.ANSWERS["build"](request)
    worker.ANSWERS["build"]({**request, "case": "control/linear"})
    assert device.log == ["use", "watch every 0.1 s", "stop", "empty caches", "use"]


def test_nothing_is_timed_before_it_is_built() -> None:
    """A release without a case is no error."""
    with pytest.raises(AssertionError, match='"build" comes before this request'):
        worker.ANSWERS["time_block"]({"rounds": 1, "iterations": 1, "warm": 0})
    assert worker.ANSWERS["release"]({}) == {"gpu": None}


# On this machine


@pytest.mark.parametrize("name", [LAYER, TRAINING, *INTERLEAVED])
def test_a_block_of_a_real_case_has_its_rounds(name: str) -> None:
    """Seconds per step, one value per round, and the share of the core."""
    case = ready(name, CPU, 0, NO_FAULT)
    case.rebuild(64)
    samples_s, share, host_s, held, cores = case.block(5, 2, 1)
    assert (host_s, held) == (None, None)
    assert case.step_s > 0
    assert len(samples_s) == 5
    assert all(sample > 0 for sample in samples_s)
    assert share is not None
    assert 0 < share < 1.1
    assert cores is not None
    assert cores >= 0.99 * share, "all threads work at least as long as the one that calls the step"
    assert case.release() is None


def test_a_training_goes_on_batch_by_batch() -> None:
    """A step is one batch; a batch more than an epoch begins the next one."""
    case = catalogue.case(TRAINING)
    assert isinstance(case, TrainCase)
    training = case.build("cpu", 0)
    epoch = -(-len(training.data.x_train) // case.batch)
    before = [parameter.detach().clone() for parameter in training.model.parameters()]
    for _ in range(epoch + 1):
        case.timed_unit(training)()
    whole = case.build("cpu", 0)
    whole()
    after_epoch = [parameter.detach().clone() for parameter in whole.model.parameters()]
    changed = [parameter.detach() for parameter in training.model.parameters()]
    assert any((a != b).any() for a, b in zip(before, changed, strict=True))
    assert any((a != b).any() for a, b in zip(after_epoch, changed, strict=True))


def test_a_part_of_an_epoch_counts_no_examples() -> None:
    """A training's step is one batch here, while its examples are those of an epoch."""
    assert ready(TRAINING, CPU, 0, NO_FAULT).examples is None
    assert ready(LAYER, CPU, 0, NO_FAULT).examples == 64


def test_injected_memory_is_exact() -> None:
    """To the byte."""
    plain, more = ready(LAYER, CPU, 0, NO_FAULT), ready(LAYER, CPU, 0, InjectedFault(bytes_held=1 << 20))
    peaks = [case.memory()["allocated_peak_bytes"] for case in (plain, more)]
    assert (peaks[1] or 0) - (peaks[0] or 0) == 1 << 20


def test_all_threads_stay_on_their_cores() -> None:
    """Threads that torch has started are moved as well."""
    cores = os.sched_getaffinity(0)
    try:
        pin([max(cores)])
        assert os.sched_getaffinity(0) == {max(cores)}
    finally:
        pin(sorted(cores))


FAULTS = """
import random, resource, sys
from bnsuite.measure import devices
from bnsuite.measure.fault_injection import NO_FAULT
from bnsuite.measure.interleaved import ready
from bnsuite.measure.warm_up import fill_heap
fill_heap(int(sys.argv[1]))
chance = random.Random(0)
case = ready("op/batch_norm2d/fwd+bwd/f32/nchw/16x64x56x56", devices.get("cpu"), 0, NO_FAULT)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(16):
    case.rebuild(64 * chance.randrange(1 << 20))
    case.block(3, 1, 0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
def test_no_page_is_touched_for_the_first_time_while_something_is_timed() -> None:
    """Once the heap is filled; without that it happens again and again, by thousands where pages are small."""
    nbytes = catalogue.case("op/batch_norm2d/fwd+bwd/f32/nchw/16x64x56x56").nbytes or 0
    faults = []
    for heap in (0, HEAP_BYTES + HEAP_TIMES * nbytes):
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, str(heap)],
            env={**os.environ, **isolation.keep_heap()},
            capture_output=True,
            text=True,
            check=True,
        )
        faults.append(int(done.stdout))
    assert faults[0] > 20
    assert faults[1] <= 10


def test_the_worker_says_how_blocks_must_be_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds of milliseconds, two layouts, and what a step costs together with its host."""
    registry.get.cache_clear()
    monkeypatch.setitem(registry.KINDS, "cpu", FakeGpu)
    try:
        built = worker.ANSWERS["build"]({"device": "cpu", "case": "control/launch", "seed": 0, "fault": {}})
        block = worker.ANSWERS["time_block"]({"rounds": 2, "iterations": 3, "warm": 0})
    finally:
        worker.ANSWERS["release"]({})
        registry.get.cache_clear()
    rules = rules_of(ReadyAnswer.model_validate({**built, "step_s": 1e-6}))
    assert (rules.round_s, rules.block_s, rules.layouts) == (5e-3, 20e-3, 2)
    assert block["held"] is True
    assert len(block["host_s"]) == 2
