"""One case timed as a pytest item times it, in a process that has no pytest."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from time import perf_counter, thread_time
from typing import Any

from bnsuite.cases import Case, RelationCase, by_id
from bnsuite.measure import clock, memory
from bnsuite.measure.control import Controls
from bnsuite.measure.device import index_of, uuid
from bnsuite.measure.nvml import Watch
from bnsuite.measure.settle import ROUND_S, flush, settle

#: As in ``measure/items``: rounds of a case and the time that they fill, the same of a ratio, and how often a GPU is
#: looked at during an epoch.
CASE_S, MIN_ROUNDS, MAX_ROUNDS = 0.25, 7, 50
RATIO_S, MIN_RATIO_ROUNDS, MAX_RATIO_ROUNDS = 0.3, 8, 40
SAMPLED_EVERY_S = 0.1


def time_case(name: str, device: str) -> dict[str, Any]:
    """Returns the timing of the case `name`: samples, controls, processor share, memory and the GPU's watch."""
    if device != "cpu":
        import torch

        _watch()  # before this process touches the GPU
        torch.cuda.set_device(device)
    case = by_id[name]
    return _time_ratio(case, device) if isinstance(case, RelationCase) else _time_one(case, device)


def _time_one(case: Case, device: str) -> dict[str, Any]:
    ticks = clock.for_device(device)
    warm = case.build(device)  # a training starts its rounds untrained
    iterations = 1
    if case.rounds is None:
        step_s = settle(warm, device)
        iterations = 1 if case.cold else max(1, round(ROUND_S / step_s))
        rounds = min(MAX_ROUNDS, max(MIN_ROUNDS, int(CASE_S / (step_s * iterations))))
    else:
        rounds = case.rounds
        case.brief(warm)() if case.long else settle(warm, device)
    step = case.build(device)
    if case.rounds is None:
        step()  # what is done once, compiling among it, is no part of the first round
    controls = Controls(case.nbytes, device, ticks)
    controls.sample()
    empty = flush(device) if case.cold else lambda: None
    samples: list[float] = []
    with _surroundings(device, None if case.rounds is None else SAMPLED_EVERY_S) as seen:
        for _ in range(rounds):
            empty()
            samples += clock.time_rounds(step, ticks, 1, iterations)
    controls.sample()
    return {
        "samples_s": samples,
        "iterations": iterations,
        "controls_s": controls.samples,
        **seen,
        "examples": case.examples(step),
        "memory": memory.measure(case.brief(step), device),
    }


def _time_ratio(case: RelationCase, device: str) -> dict[str, Any]:
    ticks = clock.for_device(device)
    pair = case.build_pair(device)
    steps_s = [settle(step, device) for step in pair]
    iterations = max(1, round(ROUND_S / min(steps_s)))
    rounds = min(MAX_RATIO_ROUNDS, max(MIN_RATIO_ROUNDS, int(RATIO_S / (sum(steps_s) * iterations))))
    samples: tuple[list[float], list[float]] = ([], [])
    with _surroundings(device, None) as seen:
        for number in range(rounds):
            for side in (0, 1) if number % 2 == 0 else (1, 0):
                samples[side].extend(clock.time_rounds(pair[side], ticks, 1, iterations))
    return {
        "samples_s": samples[0],
        "iterations": iterations,
        "controls_s": {"partner": samples[1]},
        **seen,
        "memory": {"allocated_peak_bytes": None},
    }


@cache
def _watch() -> Watch:
    return Watch()


@contextmanager
def _surroundings(device: str, period_s: float | None) -> Iterator[dict[str, Any]]:
    """Times without garbage collection; fills in the processor share on a CPU, and the watch of a GPU."""
    seen: dict[str, Any] = {"cpu_share": None, "gpu": None}
    on_gpu = device != "cpu"
    if on_gpu:
        _watch().start(uuid(device), index_of(device), period_s=period_s)
    collected = gc.isenabled()
    gc.disable()
    begin_s, begin_cpu_s = perf_counter(), thread_time()
    try:
        yield seen
    finally:
        wall_s, cpu_s = perf_counter() - begin_s, thread_time() - begin_cpu_s
        if collected:
            gc.enable()
        if on_gpu:
            seen["gpu"] = asdict(_watch().stop())
        else:
            seen["cpu_share"] = cpu_s / wall_s
