"""A CUDA GPU as a device: events, the caching allocator, graphs, cuDNN, and NVML for what torch can't say."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsuite.cases import allocations, data
from bnsuite.measure import nvml
from bnsuite.measure.devices.device import Device, DeviceError, Telemetry, rss_peak_bytes

if TYPE_CHECKING:
    import torch

    from bnsuite.cases import Step

#: Steps before a graph is captured, on a stream of their own, as torch asks for.
STEPS_BEFORE_CAPTURE = 3

#: Environment variables that change what is measured on a GPU. Their values are settings, never secrets.
VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_LAUNCH_BLOCKING",
    "NVIDIA_TF32_OVERRIDE",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TORCH_CUDNN_V8_API_DISABLED",
)


class CudaMark:
    """A point in a GPU's stream; the difference of two waits for the later one and gives seconds."""

    __slots__ = ("_event",)

    def __init__(self, event: torch.cuda.Event) -> None:
        self._event = event

    def __sub__(self, earlier: CudaMark) -> float:
        self._event.synchronize()
        return float(earlier._event.elapsed_time(self._event)) / 1e3  # milliseconds to seconds


def cuda_event() -> CudaMark:
    """A mark in the current stream of the current GPU."""
    import torch

    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return CudaMark(event)


@cache
def presence() -> nvml.Presence:
    """The process's one record of the processes on the GPUs. Its first call comes before anything touches a GPU."""
    return nvml.Presence()


class Cuda(Device):
    """One GPU, "cuda:N" in torch's numbering."""

    warm_up_s = 0.5
    works_on_core = False

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._index = int(name.partition(":")[2] or 0)

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

    def wait(self) -> None:
        import torch

        torch.cuda.synchronize(self.name)

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
        peak = allocations.held(step, self.name).peak
        return {
            "allocated_peak_bytes": peak,
            "reserved_peak_bytes": torch.cuda.max_memory_reserved(self.name),
            "gpu_used_bytes": nvml.used_bytes(self.uuid, self._index),
            "rss_peak_bytes": rss_peak_bytes(),
        }

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
            "gpu": {
                "name": properties.name,
                "count": torch.cuda.device_count(),
                "capability": f"{properties.major}.{properties.minor}",
                "memory_total_bytes": properties.total_memory,
                "driver": nvml.driver_version()[0],
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
            step()
        return partial(_replay, graph, step)


def _replay(graph: torch.cuda.CUDAGraph, _: Step) -> None:
    """Replays a captured step; it reads and writes the tensors of the step itself, which this reference keeps alive."""
    graph.replay()


def is_available() -> bool:
    """True if torch finds a GPU that it can use."""
    import torch

    presence()
    return torch.cuda.is_available()


def find(asked: str) -> str:
    """The full name of the GPU that "cuda" (the current one) or "cuda:N" means. DeviceError if it can't be used."""
    import torch

    if not is_available():
        raise DeviceError(f"--device {asked}: {_why_unavailable(torch.version.cuda)}")
    index = int(asked.partition(":")[2] or torch.cuda.current_device())
    if index >= torch.cuda.device_count():
        raise DeviceError(
            f"--device {asked}: there are {torch.cuda.device_count()} GPUs here, numbered from 0; "
            "see `nvidia-smi -L` and CUDA_VISIBLE_DEVICES"
        )
    return f"cuda:{index}"


def torch_facts() -> dict[str, Any]:
    """The CUDA version torch was built for, and the flags of its GPU libraries; recorded on every device."""
    import torch

    return {
        "cuda": torch.version.cuda,
        "flags": {
            "matmul_tf32": torch.backends.cuda.matmul.allow_tf32,
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "cudnn_deterministic": torch.backends.cudnn.deterministic,
            "cudnn_enabled": torch.backends.cudnn.enabled,
        },
    }


def in_container() -> bool:
    """True if there are signs that this process runs in a Docker or Podman container."""
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


def _why_unavailable(built_for: str | None) -> str:
    if built_for is None:
        return "this torch is built without CUDA; install a CUDA build, or use --device cpu"
    driver, trouble = nvml.driver_version()
    if driver is not None:
        offered = nvml.survey().cuda
        if offered is not None and int(offered.partition(".")[0]) < int(built_for.partition(".")[0]):
            return (
                f"the NVIDIA driver {driver} offers CUDA {offered}, and torch is built for CUDA {built_for}; install a "
                "newer driver, or a torch built for the driver's CUDA"
            )
        return (
            f"the NVIDIA driver {driver} answers, but torch (built for CUDA {built_for}) finds no usable GPU; "
            "is CUDA_VISIBLE_DEVICES set, or the driver too old?"
        )
    if in_container() and "unknown error" in trouble.lower():
        return (
            f"this container's GPUs were taken away ({trouble}), as `systemctl daemon-reload` on its host does; "
            "restart the container, or use --device cpu"
        )
    if in_container():
        return (
            f"no NVIDIA driver is visible in this container ({trouble}); start it with `docker run --gpus all`, "
            "which needs the NVIDIA Container Toolkit and a driver on the host, or use --device cpu"
        )
    return f"no NVIDIA driver is loaded here ({trouble}); install one and check `nvidia-smi`, or use --device cpu"
