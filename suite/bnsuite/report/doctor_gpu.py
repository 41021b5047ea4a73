"""The checks of the GPU in words, and of the way in which a container gets it: what each observed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bnsuite.report import text, units

Data = Mapping[str, Any]


def listed(values: Any) -> str:
    """Returns values in a list of bounded length."""
    return text.listed([str(one) for one in values])


def _gpu_driver(data: Data) -> str:
    if "error" in data and "driver" in data:
        return f"driver {data['driver']}, {units.count(data['count'] or 0, 'GPU')}: {data['error']}"
    if "error" in data:
        signs = f" ({listed(data['signs'])})" if data["signs"] else ""
        loaded = f", module {data['loaded']} is loaded" if data["loaded"] else ""
        return f"{data['error']}{signs}{loaded}"
    if data.get("prohibited"):
        return f"{data['gpu']} is in a compute mode that allows no process"
    return f"driver {data['driver']}, {data['gpu']}"


def _cuda(data: Data) -> str:
    wheel = data["torch_cuda"] or "none"
    image = f", the image CUDA {data['image_cuda']}" if data["image_cuda"] else ""
    return f"the driver offers CUDA {data['driver_cuda']}, torch was built with {wheel}{image}"


def _kernel(data: Data) -> str:
    if data["error"]:
        return str(data["error"])
    if not data["right"]:
        return f"{data['device']} computed a wrong sum"
    first, again = units.duration(data["first_s"]), units.duration(data["again_s"])
    return f"first result on {data['device']} after {first}, the next after {again}"


def _clocks(data: Data) -> str:
    state = "held" if data["locked"] else "not locked"
    return f"SM clock {state}: {data['sm_clock_mhz']} MHz now, up to {data['sm_clock_mhz_max']} MHz"


def _rows(data: Data) -> str:
    counts = f"{data['correctable'] or 0} correctable, {data['uncorrectable'] or 0} uncorrectable"
    pending = ", a remap is pending" if data["pending"] else ""
    failed = ", a remap failed" if data["failed"] else ""
    return f"remapped rows: {counts}{pending}{failed}"


def _gpu_processes(data: Data) -> str:
    if not data["count"]:
        drawing = f", but for {units.count(data['drawing'], 'window system')}" if data.get("drawing") else ""
        return f"no other process on the GPU{drawing}"
    ids = f" (process {listed(data['ids'])})" if data["ids"] else ""
    return f"{units.count(data['count'], 'other process', 'other processes')} on the GPU{ids}"


def _mps(data: Data) -> str:
    if not data["server"] and not data["clients"]:
        return "no MPS"
    return f"MPS shares the GPU, {units.count(data['clients'] or 0, 'client')} seen"


def _container_gpu(data: Data) -> str:
    runtime = "runtime nvidia" if data["runtime"] else "no runtime nvidia"
    toolkit = "toolkit installed" if data["toolkit"] else "no toolkit"
    stale = f"; {listed(data['specs'])} is not for driver {data['driver']}" if "specs" in data else ""
    return f"{runtime}, {data['cdi_devices']} CDI devices, {data['cdi_specs']} CDI files, {toolkit}{stale}"


#: Words by the name of the check.
GPU_WORDS: dict[str, Callable[[Data], str]] = {
    "gpu-driver": _gpu_driver,
    "gpu-cuda": _cuda,
    "gpu-compute-mode": lambda data: (
        "one process has the GPU for itself" if data["exclusive"] else "several processes may use the GPU"
    ),
    "gpu-memory": lambda data: (
        f"{units.nbytes(data['free_bytes'])} of {units.nbytes(data['total_bytes'])} of its memory free"
    ),
    "gpu-kernel": _kernel,
    "gpu-persistence": lambda data: f"persistence mode is {'on' if data['persistence'] else 'off'}",
    "gpu-clocks": _clocks,
    "gpu-throttling": lambda data: (
        f"clocks held down by {listed(data['reasons'])} at {data['temperature_c']} °C"
        if data["reasons"]
        else "clocks not held down"
    ),
    "gpu-ecc": lambda data: (
        f"ECC errors since the driver was loaded: {data['corrected'] or 0} corrected, "
        f"{data['uncorrected'] or 0} uncorrected"
    ),
    "gpu-remapped-rows": _rows,
    "gpu-processes": _gpu_processes,
    "gpu-mig": lambda data: f"MIG is on with {units.count(data['slices'], 'slice')}" if data["mig"] else "MIG is off",
    "gpu-mps": _mps,
    "container-gpu": _container_gpu,
}
