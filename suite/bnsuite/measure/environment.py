"""What surrounds a measurement: versions, flags, processor and GPU. Recorded beside every number."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from bnsuite.measure import nvml
from bnsuite.measure.device import index_of
from bnsuite.measure.device import uuid as device_uuid

#: Packages whose version is recorded if they are installed; none is imported for it.
PACKAGES = ("torch", "torchvision", "triton", "numpy", "scikit-learn", "pytest", "pytest-benchmark", "nvidia-ml-py")

#: Variables that change what is measured, recorded if set. Their values are settings, never secrets.
VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_LAUNCH_BLOCKING",
    "KMP_AFFINITY",
    "LD_PRELOAD",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TORCH_CUDNN_V8_API_DISABLED",
)


def describe(device: str) -> dict[str, Any]:
    """This process's environment, for measurements on `device` ("cpu" or "cuda:N")."""
    import torch

    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "system": f"{platform.system()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()),
        "packages": _versions(),
        "torch_git": torch.version.git_version,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if device != "cpu" else None,
        "cpu": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores_given": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "gpu": _gpu(device) if device != "cpu" else None,
        "flags": {
            "matmul_tf32": torch.backends.cuda.matmul.allow_tf32,
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "cudnn_deterministic": torch.backends.cudnn.deterministic,
            "cudnn_enabled": torch.backends.cudnn.enabled,
        },
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """The CPU's model as the kernel names it, with family, model and stepping where they are given."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n", 1)[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    numbers = [fields[key] for key in ("cpu family", "model", "stepping") if key in fields]
    name = fields.get("model name") or fields.get("CPU part") or platform.machine()
    return f"{name} ({'/'.join(numbers)})" if numbers else name


def _gpu(device: str) -> dict[str, Any]:
    import torch

    properties = torch.cuda.get_device_properties(device)
    seen = nvml.describe(device_uuid(device))
    details = nvml.details(device_uuid(device), index_of(device))
    driver, _ = nvml.driver_version()
    return {
        "name": properties.name,
        "count": torch.cuda.device_count(),
        "capability": f"{properties.major}.{properties.minor}",
        "memory_total_bytes": properties.total_memory,
        "driver": driver,
        "nvml": asdict(seen) if seen else None,
        "details": asdict(details) if details else None,
    }
