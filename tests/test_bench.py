"""One side of a lockstep: a case held ready, timed block by block, with known faults planted."""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median

import pytest

from bnsuite.cases import TrainCase, catalogue
from bnsuite.launch import quiet
from bnsuite.launch.lockstep import HEAP_BYTES, HEAP_TIMES
from bnsuite.measure.bench import CONTROLS, Bench, pin
from bnsuite.measure.plant import Plant

LAYER = "op/batch_norm1d/fwd-eval/f32/nc/64x128"
TRAINING = "train/synthetic-mlp/bn/lr=0.01"


@pytest.mark.parametrize("name", [LAYER, TRAINING, *CONTROLS])
def test_a_block_is_so_many_rounds(name: str) -> None:
    """Seconds a step, a value a round, and how much of its core it had."""
    bench = Bench()
    step_s = bench.ready(name, "cpu", 0, Plant()).step_s
    bench.move(64)
    samples, share = bench.block(5, 2, 1)
    assert step_s > 0
    assert len(samples) == 5
    assert all(sample > 0 for sample in samples)
    assert share is not None
    assert 0 < share < 1.1
    assert bench.done() is None


def test_nothing_is_timed_before_it_is_ready() -> None:
    with pytest.raises(AssertionError, match="comes first"):
        Bench().block(1, 1, 0)
    with pytest.raises(AssertionError, match="comes first"):
        Bench().move(64)


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


def test_planted_memory_is_exact() -> None:
    plain, more = Bench(), Bench()
    plain.ready(LAYER, "cpu", 0, Plant())
    more.ready(LAYER, "cpu", 0, Plant(bytes_held=1 << 20))
    peaks = [bench.memory()["allocated_peak_bytes"] for bench in (plain, more)]
    assert (peaks[1] or 0) - (peaks[0] or 0) == 1 << 20


def test_a_planted_slowdown_is_a_share_of_the_step() -> None:
    """The clock of a slowed side runs fast by that share, exactly; a side without a plant has the clock as it is."""
    assert Plant(slower=0.03).clock(2.0) == pytest.approx(2.06, rel=1e-12)
    assert Plant().clock(2.0) == 2.0
    plain, slowed = Bench(), Bench()
    plain.ready(LAYER, "cpu", 0, Plant())
    slowed.ready(LAYER, "cpu", 0, Plant(slower=1.0))
    ratios = []
    for _ in range(31):
        (a, _), (b, _) = (bench.block(rounds=1, iterations=3, warm=1) for bench in (plain, slowed))
        ratios.append(b[0] / a[0])
    assert 1.5 < median(ratios) < 2.7


def test_all_threads_stay_on_their_cores() -> None:
    given = os.sched_getaffinity(0)
    try:
        pin([max(given)])
        assert os.sched_getaffinity(0) == {max(given)}
    finally:
        pin(sorted(given))


FAULTS = """
import random, resource, sys
from bnsuite.measure.bench import Bench
from bnsuite.measure.plant import Plant
from bnsuite.measure.settle import fill_heap
fill_heap(int(sys.argv[1]))
bench, chance = Bench(), random.Random(0)
bench.ready("op/batch_norm2d/fwd+bwd/f32/nchw/16x64x56x56", "cpu", 0, Plant())
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(16):
    bench.move(64 * chance.randrange(1 << 20))
    bench.block(3, 1, 0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_no_page_is_met_for_the_first_time_while_something_is_timed() -> None:
    """Once the heap is filled; without that it happens again and again, by thousands where pages are small."""
    nbytes = catalogue.case("op/batch_norm2d/fwd+bwd/f32/nchw/16x64x56x56").nbytes or 0
    met = []
    for heap in (0, HEAP_BYTES + HEAP_TIMES * nbytes):
        told = subprocess.run(
            [sys.executable, "-c", FAULTS, str(heap)],
            env={**os.environ, **quiet.keep_heap()},
            capture_output=True,
            text=True,
            check=True,
        )
        met.append(int(told.stdout))
    assert met[0] > 20
    assert met[1] <= 10
