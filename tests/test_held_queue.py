"""The time of a device without its host: rounds on a queue that is held back, on a device with two scripted times."""

from __future__ import annotations

import pytest

from bnsuite.measure.devices.held_queue import MAX_HOLD_S, HeldQueue
from fake_queue import LAUNCH_S, FakeQueue


def test_a_kernel_shorter_than_its_launch_is_timed_without_it() -> None:
    """The device's time is exact, and the host's is a number of its own."""
    queue = FakeQueue()
    timed = HeldQueue(queue).time_rounds(queue.kernels(2, 2e-6), rounds=4, iterations=50)
    assert timed.device_s == pytest.approx([4e-6] * 4)
    assert timed.host_s == pytest.approx([2 * LAUNCH_S] * 4)
    assert timed.held is True


def test_without_a_hold_the_same_step_shows_the_host() -> None:
    """The reason for all of it: elapsed times are those of launching."""
    queue = FakeQueue()
    step = queue.kernels(2, 2e-6)
    queue.kernels(100, 50e-6)()  # work that is under way does not make the first round another one
    timed = HeldQueue(queue).time_elapsed(step, rounds=4, iterations=50)
    assert min(timed.device_s) > 9e-6
    assert timed.device_s == pytest.approx([timed.device_s[0]] * 4)
    assert timed.held is False


@pytest.mark.parametrize("rounds", [1, 10])
def test_the_rounds_of_a_block_are_waited_for_once(rounds: int) -> None:
    """Besides the empty queue before and after the probe, however many rounds there are."""
    queue = FakeQueue()
    held, step = HeldQueue(queue), queue.kernels(1, 100e-6)
    held.time_rounds(step, 1)  # learns how long a spin takes
    queue.waits = 0
    held.time_rounds(step, rounds, iterations=20)
    assert queue.waits == 3


def test_a_host_whose_time_is_known_is_not_measured_again() -> None:
    """The pace has it: each step that is launched belongs to a round, behind one wait for an empty queue."""
    queue = FakeQueue()
    held, step = HeldQueue(queue), queue.kernels(2, 10e-3)
    pace = held.pace(step, 20e-3, 5e-3)
    assert pace.host_s == pytest.approx(2 * LAUNCH_S)
    queue.waits = queue.launches = 0
    timed = held.time_rounds(step, rounds=3, host_s=pace.host_s)
    assert timed.device_s == pytest.approx([20e-3] * 3)
    assert (queue.launches, queue.waits) == (1 + 3 * 2, 2)  # a spin and the rounds


@pytest.mark.parametrize("known_s", [LAUNCH_S / 1000, 1000 * LAUNCH_S])
def test_a_host_that_is_slower_or_faster_than_it_was_is_held_all_the_same(known_s: float) -> None:
    """What is known of it only says how long the first hold is."""
    queue = FakeQueue()
    timed = HeldQueue(queue).time_rounds(queue.kernels(1, 2e-6), rounds=5, iterations=50, host_s=known_s)
    assert timed.device_s == pytest.approx([2e-6] * 5)
    assert timed.held is True


def test_one_slow_launch_is_not_the_pace_of_a_host() -> None:
    """As after an interrupt: every later hold would be as long."""
    queue = FakeQueue()
    host_s = iter([LAUNCH_S, 1000 * LAUNCH_S])

    def step() -> None:
        queue.launch(100e-6, next(host_s, LAUNCH_S))

    assert HeldQueue(queue).pace(step, 100e-6, 5e-3).host_s == pytest.approx(LAUNCH_S)


def test_rounds_that_are_not_launched_in_time_are_launched_again_after_a_longer_hold() -> None:
    """The host is twenty times as slow once the queue is held as it was when it was looked at."""
    queue = FakeQueue()
    held = HeldQueue(queue)

    def step() -> None:
        slow = bool(queue.spins_s) and queue.free_s > queue.host_s
        queue.launch(3e-6, 20 * LAUNCH_S if slow else LAUNCH_S)

    held.time_rounds(queue.kernels(1, 1e-6), 1)
    queue.spins_s.clear()
    timed = held.time_rounds(step, rounds=2, iterations=200)
    assert timed.device_s == pytest.approx([3e-6] * 2)
    assert timed.held is True
    assert len(queue.spins_s) > 1
    assert queue.spins_s[1] > queue.spins_s[0]


def test_more_rounds_than_the_queue_takes_are_split() -> None:
    """The host stops at a full queue: what it launches then is launched again, and its waiting is nobody's time."""
    queue = FakeQueue(depth=256)
    timed = HeldQueue(queue).time_rounds(queue.kernels(5, 10e-6), rounds=12, iterations=20)
    assert timed.device_s == pytest.approx([50e-6] * 12)
    assert timed.host_s == pytest.approx([5 * LAUNCH_S] * 12)


def test_a_setup_is_held_as_well_and_not_timed() -> None:
    """So cold and hot are timed by one protocol."""
    queue = FakeQueue()
    flush = queue.kernels(1, 80e-6)
    timed = HeldQueue(queue).time_rounds(queue.kernels(1, 3e-6), rounds=10, setup=flush)
    assert timed.device_s == pytest.approx([3e-6] * 10)
    assert timed.host_s == pytest.approx([LAUNCH_S] * 10)


def test_a_step_that_waits_for_the_device_is_timed_as_it_elapses() -> None:
    """As one that reads a result does: the queue can't be filled beyond it, and the result says so."""
    queue = FakeQueue()
    held = HeldQueue(queue)

    def step() -> None:
        queue.launch(3e-6)
        queue.wait()

    timed = held.time_rounds(step, rounds=3, iterations=10)
    assert timed.held is False
    assert min(timed.device_s) >= LAUNCH_S + 3e-6
    assert held.pace(step, 3e-6, 5e-3).held is False
    assert max(queue.spins_s) <= MAX_HOLD_S


def test_the_pace_says_how_many_steps_a_round_may_have() -> None:
    """As many as fill it, or as the queue takes with some to spare."""
    queue = FakeQueue()
    held = HeldQueue(queue)
    assert held.pace(queue.kernels(2, 50e-6), 100e-6, 5e-3).max_iterations is None
    queue.spins_s.clear()
    short = held.pace(queue.kernels(4, 1e-6), 4e-6, 5e-3)
    assert len(queue.spins_s) == 1, "a full queue is no slow host: a longer hold would take no more"
    assert short.held
    assert short.max_iterations is not None
    assert 0.7 * 256 < short.max_iterations < 0.9 * 256
    # The next rounds of so many steps do fit.
    before = len(queue.spins_s)
    held.time_rounds(queue.kernels(4, 1e-6), 1, short.max_iterations)
    assert len(queue.spins_s) == before + 1


def test_a_step_beyond_the_queue_is_not_held() -> None:
    """A training's step may launch more than the queue takes."""
    queue = FakeQueue(depth=64)
    assert HeldQueue(queue).pace(queue.kernels(100, 5e-6), 500e-6, 5e-3).held is False


def test_the_wall_time_of_a_step_contains_its_hold() -> None:
    """A plan that counted the device's time alone would take many times its budget."""
    queue = FakeQueue()
    pace = HeldQueue(queue).pace(queue.kernels(1, 2e-6), 2e-6, 1e-3)
    assert pace.step_s == 2e-6
    assert pace.wall_s > 2e-6 + LAUNCH_S


def test_the_rate_of_the_spin_is_measured() -> None:
    """A hold lasts as long as it should whatever the clock of the device, and a quicker clock later is noticed."""
    for cycles_per_s in (0.3e9, 2e9):
        queue = FakeQueue(cycles_per_s=cycles_per_s)
        held, step = HeldQueue(queue), queue.kernels(1, 100e-6)
        held.time_rounds(step, 10, 10)
        assert queue.spins_s[-1] == pytest.approx(0.5e-3 + 2 * LAUNCH_S * 100, rel=0.05)
        queue.cycles_per_s *= 2
        for _ in range(2):
            held.time_rounds(step, 10, 10)
        assert queue.spins_s[-1] == pytest.approx(0.5e-3 + 2 * LAUNCH_S * 100, rel=0.05)
