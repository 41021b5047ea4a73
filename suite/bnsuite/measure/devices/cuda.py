"""A CUDA GPU as a device: events, the caching allocator, graphs, cuDNN, and NVML for what torch can't say."""

from __future__ import annotations

import gc
import re
import warnings
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from bnsuite.cases import allocations, data, gpu_errors, precision
from bnsuite.cases.execution import TimedBy
from bnsuite.measure import nvml
from bnsuite.measure.clock import Rounds
from bnsuite.measure.devices import profiled
from bnsuite.measure.devices.cuda_errors import explained
from bnsuite.measure.devices.device import Device, DeviceError, Telemetry, rss_peak_bytes
from bnsuite.measure.devices.held_queue import HeldQueue, Pace
from bnsuite.measure.devices.profiled import LaunchedKernels

if TYPE_CHECKING:
    import torch

    from bnsuite.cases import Step

#: Steps before a graph is captured, on a stream of their own, as torch asks for.
STEPS_BEFORE_CAPTURE = 3

#: Seconds of work that bring an idle GPU's clocks up, once per process, and products that are launched at once.
CLOCKS_S, PRODUCTS = 0.5, 20
#: Rows of the matrices whose product is the compute-bound control, by the least number of multiprocessors.
PRODUCT_ROWS = ((64, 4096), (16, 2048), (8, 1024))

#: Environment variables that change what is measured on a GPU. Their values are settings, never secrets.
VARIABLES = (
    "CUBLASLT_WORKSPACE_SIZE",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_AUTO_BOOST",
    "CUDA_CACHE_DISABLE",
    "CUDA_DEVICE_MAX_CONNECTIONS",
    "CUDA_DEVICE_ORDER",
    "CUDA_FORCE_PTX_JIT",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_MODULE_LOADING",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_TF32_OVERRIDE",
    "NVIDIA_VISIBLE_DEVICES",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
    "PYTORCH_NVML_BASED_CUDA_CHECK",
    "PYTORCH_TUNABLEOP_ENABLED",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "TORCH_BLAS_PREFER_CUBLASLT",
    "TORCH_COMPILE_DISABLE",
    "TORCH_CUBLASLT_UNIFIED_WORKSPACE",
    "TORCH_CUDNN_USE_HEURISTIC_MODE_B",
    "TORCH_CUDNN_V8_API_DISABLED",
    "TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT",
)

#: Families of such variables, by the beginning of their names.
VARIABLE_FAMILIES = ("CUDA_MPS_", "NCCL_", "TORCHINDUCTOR_", "TORCH_NCCL_", "TRITON_")


class CudaMark:
    """A point in a GPU's stream; the difference of two waits for the later one and gives seconds."""

    __slots__ = ("_event",)

    def __init__(self, event: torch.cuda.Event) -> None:
        self._event = event

    def __sub__(self, earlier: CudaMark) -> float:
        self._event.synchronize()
        return self.seconds_since(earlier)

    def seconds_since(self, earlier: CudaMark) -> float:
        """Seconds between two marks that were both reached."""
        return float(earlier._event.elapsed_time(self._event)) / 1e3  # milliseconds to seconds

    def reached(self) -> bool:
        """True if the GPU is through with all work before it; never waits."""
        return bool(self._event.query())


def cuda_event() -> CudaMark:
    """A mark in the current stream of the current GPU."""
    import torch

    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return CudaMark(event)


class CudaQueue:
    """The current stream of one GPU."""

    def __init__(self, name: str) -> None:
        self._name = name

    def spin(self, cycles: int) -> None:
        import torch

        torch.cuda._sleep(cycles)  # noqa: SLF001  # the only kernel of a length that is chosen

    def mark(self) -> CudaMark:
        return cuda_event()

    def wait(self) -> None:
        import torch

        torch.cuda.synchronize(self._name)

    def now_s(self) -> float:
        return perf_counter()


class Captured:
    """A step captured as a graph; a call replays it.

    The graph reads and writes the tensors of the step itself, which this reference keeps alive.
    """

    def __init__(self, graph: torch.cuda.CUDAGraph, step: Step, peak_bytes: int) -> None:
        self._graph, self._step = graph, step
        #: The most bytes that the step held while it was captured: a replay takes nothing from the allocator.
        self.captured_peak_bytes = peak_bytes

    def __call__(self) -> None:
        self._graph.replay()


@cache
def presence() -> nvml.Presence:
    """The process's one record of the processes on the GPUs. Its first call comes before anything touches a GPU."""
    return nvml.Presence()


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
    ) -> Rounds:
        take = self._queue.time_rounds if by is TimedBy.DEVICE else self._queue.time_elapsed
        return take(step, rounds, iterations, setup)

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


@cache
def _complaints() -> list[str]:
    """What torch warned of when it was first asked for a GPU: it says so once in a process."""
    return []


def is_available() -> bool:
    """True if torch finds a GPU that it can use."""
    import torch

    presence()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = torch.cuda.is_available()
    _complaints().extend(str(one.message) for one in told)
    return found


def is_rehearsed() -> bool:
    """True if torch's CUDA is no more than a name, which the tests give it on a machine without a GPU."""
    import torch

    return bool(getattr(torch.cuda, "REHEARSAL", False))


def find(asked: str) -> str:
    """The full name of the GPU that "cuda" (the current one) or "cuda:N" means. DeviceError if it can't be used."""
    import torch

    if not is_available():
        raise DeviceError(f"--device {asked}: {_why_unavailable(torch.version.cuda)}")
    number = asked.partition(":")[2]
    index = 0 if number == "all" else int(number or torch.cuda.current_device())
    if index >= torch.cuda.device_count():
        raise DeviceError(
            f"--device {asked}: there are {torch.cuda.device_count()} GPUs here, numbered from 0; "
            "see `nvidia-smi -L` and CUDA_VISIBLE_DEVICES"
        )
    return f"cuda:{index}"


def torch_facts() -> dict[str, Any]:
    """The CUDA version torch was built for, and the flags of its GPU libraries; recorded on every device."""
    import torch

    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    flags = {
        "matmul_tf32": (matmul, "allow_tf32"),
        "matmul_fp16_reduced": (matmul, "allow_fp16_reduced_precision_reduction"),
        "matmul_bf16_reduced": (matmul, "allow_bf16_reduced_precision_reduction"),
        "matmul_fp16_accumulation": (matmul, "allow_fp16_accumulation"),
        "cudnn_tf32": (cudnn, "allow_tf32"),
        "cudnn_benchmark": (cudnn, "benchmark"),
        "cudnn_deterministic": (cudnn, "deterministic"),
        "cudnn_enabled": (cudnn, "enabled"),
    }
    precisions = {
        "all": (torch.backends, "fp32_precision"),
        "matmul": (matmul, "fp32_precision"),
        "cudnn": (cudnn, "fp32_precision"),
        "cudnn_conv": (getattr(cudnn, "conv", None), "fp32_precision"),
        "cudnn_rnn": (getattr(cudnn, "rnn", None), "fp32_precision"),
    }
    return {
        "cuda": torch.version.cuda,
        "flags": {
            **{name: seen for name, where in flags.items() if isinstance(seen := _setting(*where), bool)},
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        },
        "precisions": {
            **{name: seen for name, where in precisions.items() if isinstance(seen := _setting(*where), str)},
            **_float32_matmul(),
        },
    }


def _in_short(complaint: str) -> str:
    """The beginning of a warning of torch's in one line, without the place in its source."""
    line = " ".join(complaint.split()).partition(" (Triggered internally")[0]
    return line.removeprefix("CUDA initialization: ")[:300]


def _float32_matmul() -> dict[str, str]:
    """The precision by its older name; newer releases refuse it where precisions by operation overrule it."""
    import torch

    try:
        return {"float32_matmul": torch.get_float32_matmul_precision()}
    except RuntimeError:
        return {}


def _setting(where: Any, name: str) -> Any:
    """A setting of torch, or None: older releases lack some, and newer ones refuse flags that precisions overrule."""
    try:
        return getattr(where, name, None)
    except RuntimeError:
        return None


def why_refused(name: str, error: BaseException) -> str:
    """Why a GPU that is there could not be used, in one line: the error, and what the driver says of it."""
    import torch

    line, _, fix = explained(error)
    index = name.partition(":")[2]
    why = nvml.hindrance(int(index) if index.isdigit() else 0, torch.version.cuda)
    if why is None and gpu_errors.BUSY.search(str(error)):
        why = (
            "it is in exclusive mode and another process has it, or in prohibited mode: end that process (`nvidia-smi` "
            "lists it), or let several use it with `sudo nvidia-smi -c DEFAULT`"
        )
    return f"{line}; {why or fix}"


def in_container() -> bool:
    """True if there are signs that this process runs in a Docker or Podman container."""
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


def _why_unavailable(built_for: str | None) -> str:  # noqa: PLR0911  # one reason after another
    if built_for is None:
        return "this torch is built without CUDA; install a CUDA build, or use --device cpu"
    driver, trouble = nvml.driver_version()
    complaint = " ".join(_complaints())
    if "too old" in complaint:
        found = re.search(r"found version (\d+)", complaint)
        offers = f", which offers CUDA {int(found[1]) // 1000}.{int(found[1]) % 1000 // 10}," if found else ""
        return (
            f"the NVIDIA driver{f' {driver}' if driver else ''}{offers} is too old for this torch, built for CUDA "
            f"{built_for}; install a newer driver (on the host, if this is a container), or a torch for an older CUDA"
        )
    if driver is not None:
        if complaint:
            return f"the NVIDIA driver {driver} answers, but CUDA does not start: {_in_short(complaint)}"
        why = nvml.hindrance(0, built_for) or "is CUDA_VISIBLE_DEVICES set, or the driver too old?"
        return f"the NVIDIA driver {driver} answers, but torch (built for CUDA {built_for}) finds no usable GPU; {why}"
    if ";" in trouble:  # the driver is there and sick, and its trouble comes with a fix
        return trouble
    if in_container():
        return (
            f"no NVIDIA driver is visible in this container ({trouble}); start it with `docker run --gpus all`, "
            "which needs the NVIDIA Container Toolkit and a driver on the host, or use --device cpu"
        )
    return f"no NVIDIA driver is loaded here ({trouble}); install one and check `nvidia-smi`, or use --device cpu"
