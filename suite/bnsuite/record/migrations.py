"""Steps from one schema of a run to the next that are more than a line, on plain JSON."""

from __future__ import annotations

from typing import Any


def one_gpu_record(run: dict[str, Any]) -> dict[str, Any]:
    """Part of a run's 3 to 4: of NVML's two records of the GPU, the short and the full one, only the full one stays."""
    gpu = run["environment"]["gpu"]
    if gpu is None:
        return run
    short, full = gpu["nvml"], gpu.get("details")
    if full is None and short is not None:
        pcie = ("pcie_generation", "pcie_generation_max", "pcie_width", "pcie_width_max")
        unknown = ("cuda", "ecc", *pcie, "sm_clock_mhz_max", "memory_clock_mhz_max")
        known = {"driver": gpu["driver"], "mig_slice": short["uuid"].startswith("MIG-")}
        full = {**dict.fromkeys(unknown), **known, **short}
    one = {name: value for name, value in gpu.items() if name != "details"}
    return {**run, "environment": {**run["environment"], "gpu": {**one, "nvml": full}}}
