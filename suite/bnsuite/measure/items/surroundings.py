"""What else went on while rounds were timed: whether the core was ours, and what the GPU went through."""

from __future__ import annotations

from dataclasses import asdict
from time import perf_counter, thread_time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bnsuite.measure.device import index_of, uuid
from bnsuite.measure.plugin import WATCH

if TYPE_CHECKING:
    import pytest
    from typing_extensions import Self

#: How often a GPU is looked at during an epoch.
SAMPLED_EVERY_S = 0.1


class Surroundings:
    """A context around the rounds of one item."""

    def __init__(self, config: pytest.Config, device: str, *, period_s: float | None = None) -> None:
        self._watch = config.stash[WATCH] if device != "cpu" else None
        self._device, self._period_s = device, period_s
        self._begin_s = self._begin_cpu_s = 0.0
        #: Processor time over wall time: on a CPU this thread works all the time; where it did not, something else
        #: had its core. None on a GPU.
        self.cpu_share: float | None = None
        #: What NVML saw; None on a CPU.
        self.gpu: dict[str, Any] | None = None

    def __enter__(self) -> Self:
        if self._watch is not None:
            self._watch.start(uuid(self._device), index_of(self._device), period_s=self._period_s)
        self._begin_s, self._begin_cpu_s = perf_counter(), thread_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wall_s, cpu_s = perf_counter() - self._begin_s, thread_time() - self._begin_cpu_s
        if self._device == "cpu":
            self.cpu_share = cpu_s / wall_s
        if self._watch is not None:
            self.gpu = asdict(self._watch.stop())
