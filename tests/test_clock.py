"""Timed rounds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from bnsuite.measure.clock import process_cpu_s, time_rounds
from bnsuite.measure.fault_injection import NO_FAULT, InjectedFault


def test_rounds_are_seconds_per_step() -> None:
    """A clock that ticks once a second, and rounds of four steps."""
    ticks: Iterator[float] = iter(range(100))
    calls: list[None] = []
    samples = time_rounds(lambda: calls.append(None), lambda: next(ticks), rounds=3, iterations=4)
    assert samples == [0.25, 0.25, 0.25]
    assert len(calls) == 12


def test_a_setup_runs_before_each_round_and_is_not_timed() -> None:
    """Two rounds of three steps take 6 s, and the clock moved 200 s more."""
    now = 0.0

    def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    assert time_rounds(lambda: advance(1), lambda: now, 2, 3, lambda: advance(100)) == [1.0, 1.0]
    assert now == 206


def test_the_process_clock_has_the_time_of_all_threads() -> None:
    """Of a thread that has ended, and of one that waits."""
    worked, done, spent = threading.Event(), threading.Event(), []

    def work() -> None:
        while time.thread_time() < 0.05:
            sum(range(1000))
        spent.append(time.thread_time())
        worked.set()
        done.wait()

    begin_s = process_cpu_s()
    thread = threading.Thread(target=work)
    thread.start()
    worked.wait()
    assert process_cpu_s() - begin_s >= spent[0] - 0.001
    done.set()
    thread.join()
    assert process_cpu_s() - begin_s >= spent[0] - 0.001


def test_threads_that_spin_cost_processor_time_until_they_are_ended() -> None:
    """The fault that the gate of CPU time has to find; without it no thread is started."""
    assert NO_FAULT.spinning() is None
    before = set(threading.enumerate())
    begin_s = process_cpu_s() - time.thread_time()
    ended = InjectedFault(spins=2).spinning()
    assert ended is not None
    spinning = set(threading.enumerate()) - before
    assert len(spinning) == 2
    while process_cpu_s() - time.thread_time() - begin_s < 0.05:
        pass
    ended.set()
    for thread in spinning:
        thread.join()
