"""One side of a lockstep: a case held ready, timed block by block, with known faults planted."""

from __future__ import annotations

import os

import pytest

from bnsuite.cases import TrainCase, by_id
from bnsuite.measure.bench import CONTROLS, Bench, pin
from bnsuite.measure.plant import Plant

LAYER = "op/batch_norm1d/fwd-eval/f32/nc/64x128"
TRAINING = "train/synthetic-mlp/bn/lr=0.01"


@pytest.mark.parametrize("name", [LAYER, TRAINING, *CONTROLS])
def test_a_block_is_so_many_rounds(name: str) -> None:
    """Seconds a step, a value a round, and how much of its core it had."""
    bench = Bench()
    step_s, _ = bench.ready(name, "cpu", 0, Plant())
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
    case = by_id[TRAINING]
    assert isinstance(case, TrainCase)
    training = case.build("cpu", 0)
    epoch = -(-len(training.data.x_train) // case.batch)
    before = [parameter.detach().clone() for parameter in training.model.parameters()]
    for _ in range(epoch + 1):
        case.piece(training)()
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
    """A clock that only counts: a round of ten steps ends when a tenth more than they took has passed."""
    calls = []
    seconds = Plant(slower=4.0).time(lambda: calls.append(sum(range(20_000))), _monotonic, 10)
    assert len(calls) == 10
    plain = Plant().time(lambda: calls.append(sum(range(20_000))), _monotonic, 10)
    assert seconds[0] > 2 * plain[0]


def _monotonic() -> float:
    from time import perf_counter

    return perf_counter()


def test_all_threads_stay_on_their_cores() -> None:
    given = os.sched_getaffinity(0)
    try:
        pin([max(given)])
        assert os.sched_getaffinity(0) == {max(given)}
    finally:
        pin(sorted(given))
