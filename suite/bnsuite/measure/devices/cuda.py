"""A CUDA GPU as a device: events, the caching allocator, graphs, cuDNN, and NVML for what torch can't say."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import asdict
from time import perf_counter
from typing import TYPE_CHECKING, Any

from bnsuite.cases import allocations, data, gpu_errors, precision
from bnsuite.cases.execution import TimedBy
from bnsuite.measure import nvml
from bnsuite.measure.clock import Rounds
from bnsuite.measure.devices import profiled
from bnsuite.measure.devices.cuda_availability import presence
from bnsuite.measure.devices.cuda_stream import Captured, CudaQueue, cuda_event
from bnsuite.measure.devices.device import Device, Telemetry, rss_peak_bytes
from bnsuite.measure.devices.held_queue import HeldQueue, Pace
from bnsuite.measure.devices.profiled import LaunchedKernels

if TYPE_CHECKING:
    from bnsuite.cases import Step

#: Steps before a graph is captured, on a stream of their own, as torch asks for.
STEPS_BEFORE_CAPTURE = 3

#: Seconds of work that bring an idle GPU's clocks up, once per process, and products that are launched at once.
CLOCKS_S, PRODUCTS = 0.5, 20
#: Rows of the matrices whose product is the compute-bound control, by the least number of multiprocessors.
PRODUCT_ROWS = ((64, 4096), (16, 2048), (8, 1024))


class Cuda(Device):
    """One GPU, "cuda:N" in torch's numbering."""

    warm_up_s = 0.03
    works_on_core = False
    holds_queue = True
    min_round_s = 5e-3
    max_rounds = 20
    block_s = 20e-3
    layouts = 2  # the allocator's blocks of 2 and 20 MiB hide where in memory a tensor is placed
    controls = ("copy", "linear", "compute", "launch")

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._index = int(name.partition(":")[2] or 0)
        self._queue = HeldQueue(CudaQueue(name))
        self._warm = False

    @property
    def clock(self) -> Callable[[], Any]:
        return cuda_event

    @property
    def uuid(self) -> str | None:
        """The UUID by which NVML knows the GPU; None where torch is too old (2.4) to say."""
        import torch

        found = getattr(torch.cuda.get_device_properties(self.name), "uuid", None)
        return None if found is None else str(found)

    def use(self, *, watched: bool = True) -> None:
        import torch

        if watched:
            presence()
        torch.cuda.set_device(self.name)
        if watched and torch.cuda.is_initialized():
            presence().arrived()

    def wait(self) -> None:
        import torch

        torch.cuda.synchronize(self.name)

    def exact(self) -> None:
        precision.exact_products()

    def unfit(self) -> str | None:
        import torch

        self.wait()
        if torch.cuda.current_stream() != torch.cuda.default_stream():
            return "a capture failed, and the process is still in its stream"
        return gpu_errors.caught()

    def time_rounds(
        self,
        step: Step,
        rounds: int,
        iterations: int = 1,
        setup: Step | None = None,
        by: TimedBy = TimedBy.DEVICE,
        *,
        host_s: float | None = None,
    ) -> Rounds:
        if by is TimedBy.ELAPSED:
            return self._queue.time_elapsed(step, rounds, iterations, setup)
        return self._queue.time_rounds(step, rounds, iterations, setup, host_s)

    def pace(self, step: Step, step_s: float, round_s: float, setup: Step | None = None) -> Pace:
        return self._queue.pace(step, step_s, round_s, setup)

    def product(self) -> tuple[int, str]:
        import torch

        properties = torch.cuda.get_device_properties(self.name)
        count = getattr(properties, "multi_processor_count", 1)
        rows = next((rows for least, rows in PRODUCT_ROWS if count >= least), 256)
        half = "bfloat16" if properties.major >= 8 else "float16"
        return rows, half if properties.major >= 7 else "float32"

    def warm_clocks(self) -> None:
        if self._warm:
            return
        import torch

        self._warm = True
        rows, dtype = self.product()
        matrix = torch.zeros(rows, rows, dtype=getattr(torch, dtype), device=self.name)
        end_s = perf_counter() + CLOCKS_S
        while perf_counter() < end_s:
            for _ in range(PRODUCTS):
                torch.mm(matrix, matrix)
            self.wait()

    def empty_caches(self) -> None:
        import torch

        torch.cuda.empty_cache()

    def watch(self, period_s: float | None = None) -> Telemetry | None:
        return presence().watch(self.uuid, self._index, period_s=period_s)

    def memory(self, step: Step) -> dict[str, int | None]:
        import torch

        data.load.cache_clear()  # data that other cases needed in this process is not part of this one
        gc.collect()
        self.empty_caches()
        step()
        peak = allocations.held(step, self.name).peak + getattr(step, "captured_peak_bytes", 0)
        return {
            "allocated_peak_bytes": peak,
            "reserved_peak_bytes": torch.cuda.max_memory_reserved(self.name),
            "gpu_used_bytes": nvml.used_bytes(self.uuid, self._index),
            "rss_peak_bytes": rss_peak_bytes(),
        }

    def launched(self, step: Step) -> LaunchedKernels:
        def complete() -> None:
            step()
            self.wait()

        events = profiled.events_of(complete, "cuda")
        found = profiled.kernels(events)
        if not found:
            raise profiled.ProfilerUnavailableError(
                "the profiler saw no kernel: CUPTI is not available to this process, or another profiler is attached "
                "to the GPU; end that, or look at the log for CUPTI's own words"
            )
        return LaunchedKernels(of="kernels", launched=found, batch_norm=profiled.batch_norm_backend(events))

    def reset_peak(self) -> None:
        import torch

        gc.collect()
        torch.cuda.reset_peak_memory_stats(self.name)

    def peak_bytes(self) -> int | None:
        """Bytes in torch's allocator."""
        import torch

        return torch.cuda.max_memory_allocated(self.name)

    def describe(self) -> dict[str, Any]:
        import torch

        properties = torch.cuda.get_device_properties(self.name)
        facts = nvml.describe(self.uuid, self._index)
        return {
            "cudnn": torch.backends.cudnn.version(),
            "tf32": {"checks": False, "timing": torch.backends.cudnn.allow_tf32},
            "gpu": {
                "name": properties.name,
                "count": torch.cuda.device_count(),
                "capability": f"{properties.major}.{properties.minor}",
                "memory_total_bytes": properties.total_memory,
                "driver": nvml.driver_version()[0],
                "l2_bytes": getattr(properties, "L2_cache_size", None),
                "nvml": None if facts is None else asdict(facts),
            },
        }

    def without_cudnn(self, step: Step) -> Step:
        import torch

        def native() -> None:
            before = torch.backends.cudnn.enabled
            torch.backends.cudnn.enabled = False  # the context manager for it takes as long as a small step
            try:
                step()
            finally:
                torch.backends.cudnn.enabled = before

        return native

    def benchmarked(self, step: Step) -> Step:
        """`step` with cuDNN's benchmark mode on, and with algorithms of its own.

        torch keeps the algorithm of a convolution by its shapes and its flag of TF32, whichever mode chose it: in one
        process the first mode would decide for both. The flag, which halves have no use for, keeps them apart.
        """
        import torch

        cudnn = torch.backends.cudnn

        def fastest() -> None:
            before = cudnn.benchmark, cudnn.allow_tf32
            cudnn.benchmark, cudnn.allow_tf32 = True, not before[1]
            try:
                step()
            finally:
                cudnn.benchmark, cudnn.allow_tf32 = before

        return fastest

    def capture(self, step: Step) -> Step:
        import torch

        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(STEPS_BEFORE_CAPTURE):
                step()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            torch.cuda.reset_peak_memory_stats(self.name)
            before = torch.cuda.memory_allocated(self.name)
            step()
            peak = torch.cuda.max_memory_allocated(self.name) - before
        return Captured(graph, step, peak)
