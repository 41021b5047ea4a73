"""Which device is measured: what was asked for, or an error that says why it can't be had."""

from __future__ import annotations

import re
from pathlib import Path

from bnsuite.measure import nvml


class DeviceError(ValueError):
    """The device asked for can't be measured here."""


def check_name(asked: str) -> str:
    """`asked` if it names a device: auto, cpu, cuda or cuda:N."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", asked):
        raise DeviceError(f"--device {asked}: no such device; choose auto, cpu, cuda or cuda:N")
    return asked


def resolve(asked: str) -> str:
    """The device to measure, "cpu" or "cuda:N"; only ``auto`` may choose the CPU by itself."""
    check_name(asked)
    if asked == "cpu":
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        if asked == "auto":
            return "cpu"
        raise DeviceError(f"--device {asked}: {_why_no_cuda(torch.version.cuda)}")
    index = int(asked.partition(":")[2] or torch.cuda.current_device()) if asked != "auto" else 0
    if index >= torch.cuda.device_count():
        raise DeviceError(
            f"--device {asked}: there are {torch.cuda.device_count()} GPUs here, numbered from 0; "
            "see `nvidia-smi -L` and CUDA_VISIBLE_DEVICES"
        )
    return f"cuda:{index}"


def uuid(device: str) -> str | None:
    """The UUID of a GPU, by which NVML knows it; None where torch is too old (2.4) to tell."""
    import torch

    found = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return None if found is None else str(found)


def index_of(device: str) -> int:
    """N of "cuda:N"; 0 of "cuda" and of "cpu"."""
    return int(device.partition(":")[2] or 0)


def _why_no_cuda(built_for: str | None) -> str:
    if built_for is None:
        return "this torch is built without CUDA; install a CUDA build, or use --device cpu"
    driver, trouble = nvml.driver_version()
    if driver is not None:
        return (
            f"the NVIDIA driver {driver} answers, but torch (built for CUDA {built_for}) finds no usable GPU; "
            "is CUDA_VISIBLE_DEVICES set, or the driver too old?"
        )
    if in_container():
        return (
            f"no NVIDIA driver is visible in this container ({trouble}); start it with `docker run --gpus all`, "
            "which needs the NVIDIA Container Toolkit and a driver on the host, or use --device cpu"
        )
    return f"no NVIDIA driver is loaded here ({trouble}); install one and check `nvidia-smi`, or use --device cpu"


def in_container() -> bool:
    """Whether this process looks to be in a Docker or Podman container."""
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()
