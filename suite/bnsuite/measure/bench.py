"""One side of a lockstep: a case held ready in this process, and timed a block at a time when asked.

The other side is another process; whoever asks sees to it that only one of them works.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter, thread_time
from typing import TYPE_CHECKING

from bnsuite.measure import clock, control, memory
from bnsuite.measure.device import uuid
from bnsuite.measure.nvml import GpuWatch, Watch
from bnsuite.measure.plant import Plant
from bnsuite.measure.settle import flush, settle

if TYPE_CHECKING:
    import torch

    from bnsuite.cases import Case, Step

#: Fixed work of torch's own, timed as cases are: what it shows as well is not the case's.
CONTROLS: dict[str, Callable[[str], Step]] = {
    "control/copy": partial(control.copy, control.DEFAULT_BYTES),
    "control/linear": control.linear,
}


def pin(cores: list[int]) -> None:
    """Keep every thread of this process on `cores`, if there are any."""
    if cores:
        for thread in Path("/proc/self/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.sched_setaffinity(int(thread.name), cores)


@dataclass(frozen=True)
class Prepared:
    """About how long one step of a case takes, and how many examples it goes through, where that is known."""

    step_s: float
    #: Whether caches are emptied before each round, which is of one step then.
    cold: bool
    examples: int | None


class Bench:
    """Holds at most one case."""

    def __init__(self) -> None:
        self._name = self._device = ""
        self._seed = 0
        self._case: Case | None = None
        self._pad: torch.Tensor | None = None
        self._step: Step | None = None
        self._whole: Step | None = None
        self._flush: Step | None = None
        self._plant = Plant()
        self._watch = Watch()  # before this process touches the GPU, see there

    def ready(self, name: str, device: str, seed: int, plant: Plant) -> Prepared:
        """Build the case `name` on `device` and warm it up."""
        self.done()
        self._name, self._device, self._seed, self._plant = name, device, seed, plant
        if name not in CONTROLS:
            from bnsuite.cases import catalogue

            self._case = catalogue.case(name)
        self._build()
        if self._case is None:
            return Prepared(settle(self._timed(), device), cold=False, examples=None)
        self._flush = flush(device) if self._case.cold else None
        step_s = settle(self._timed(), device)
        if device != "cpu":
            self._watch.start(uuid(device))
        assert self._whole is not None
        whole = self._case.timed_unit(self._whole) == self._whole
        return Prepared(step_s, self._case.cold, self._case.examples(self._whole) if whole else None)

    def move(self, shift_bytes: int) -> None:
        """Build the case anew elsewhere in memory, untrained: how tensors lie to one another changes what they cost."""
        import torch

        assert self._name, "ready() comes first"
        self._step = self._whole = self._pad = None
        self._pad = torch.empty(shift_bytes, dtype=torch.uint8, device=self._device)
        self._build()
        self._timed()()
        if self._device != "cpu":
            self._watch.sample()  # while it is busy: throttling ends with the work

    def _build(self) -> None:
        if self._case is None:
            self._step = CONTROLS[self._name](self._device)
            return
        self._whole = self._case.build(self._device, self._seed)
        self._step = self._plant.holding(self._case.timed_unit(self._whole), self._device)

    def _timed(self) -> Step:
        assert self._step is not None, "ready() comes first"
        return self._step

    def block(self, rounds: int, iterations: int, warm: int) -> tuple[list[float], float | None]:
        """Seconds a step, a value a round, after `warm` steps that don't count; and the share of its core it had.

        The share is processor time over wall time, None on a GPU.
        """
        step, ticks = self._timed(), clock.for_device(self._device)
        for _ in range(warm):
            step()
        begin_s, begin_cpu_s = perf_counter(), thread_time()
        samples: list[float] = []
        for _ in range(rounds):
            if self._flush is not None:
                self._flush()
            samples += map(self._plant.clock, clock.time_rounds(step, ticks, 1, iterations))
        wall_s, cpu_s = perf_counter() - begin_s, thread_time() - begin_cpu_s
        return samples, cpu_s / wall_s if self._device == "cpu" else None

    def memory(self) -> dict[str, int | None]:
        """Bytes the case's step holds at its peak (see :mod:`bnsuite.measure.memory`)."""
        assert self._case is not None
        assert self._whole is not None
        return memory.measure(self._plant.holding(self._case.smoke_step(self._whole), self._device), self._device)

    def done(self) -> GpuWatch | None:
        """Let go of the case; returns what the GPU went through since it was made ready, None on a CPU."""
        import torch

        seen = self._watch.stop() if self._case is not None and self._device != "cpu" else None
        self._case = self._step = self._whole = self._flush = self._pad = None
        self._name = ""
        gc.collect()
        if self._device not in {"", "cpu"}:
            torch.cuda.empty_cache()  # the other side is on the same GPU
        return seen
