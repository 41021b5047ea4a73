"""The environment of a measurement: versions, flags, processor and GPU. Recorded beside every number."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from bnsuite.measure import builds, devices

#: Packages whose version is recorded if they are installed; none is imported for it.
PACKAGES = ("torch", "torchvision", "triton", "numpy", "scikit-learn", "pytest", "pytest-benchmark", "nvidia-ml-py")

#: Set by the build of an image: the image that it is based on, with a digest if it was pinned by one.
BASE_VARIABLE = "BNSUITE_BASE"

#: Variables that change what is measured, recorded if set. Their values are settings, never secrets.
VARIABLES = (
    *devices.VARIABLES,
    "ATEN_CPU_CAPABILITY",
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_",
    "PYTHONHASHSEED",
    "PYTORCH_ALLOC_CONF",
)


#: Families of such variables, by the beginning of their names: those of CUDA, and of the CPU's libraries.
VARIABLE_FAMILIES = (
    *devices.VARIABLE_FAMILIES,
    "DNNL_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "OMP_",
    "ONEDNN_",
    "OPENBLAS_",
    "TORCH_MKLDNN_",
)


def describe(device: devices.Device) -> dict[str, Any]:
    """The facts of this process's environment, for measurements on `device`, as ``Environment`` in JSON."""
    import torch

    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "system": f"{platform.system()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()),
        "packages": _versions(),
        "torch_git": torch.version.git_version,
        "cpu": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores_given": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        **devices.torch_facts(),
        **device.describe(),
        "rehearsal": devices.is_rehearsed(),
        "variables": {name: os.environ[name] for name in sorted(os.environ) if _is_setting(name)},
        "image": _image(),
        **builds.describe(),
    }


#: What of a family is not recorded: folders, which torch sets by itself, and addresses, which may hold a password.
NOT_RECORDED = re.compile(r"(DIR|DIRECTORY|PATH|FILE|HOST|SERVER|URL|REDIS\w*|TOKEN|KEY|PASSWORD|SECRET)$")


def _is_setting(name: str) -> bool:
    """True if a variable is one of VARIABLES, or of the families, that change what is measured."""
    of_family = name.startswith(VARIABLE_FAMILIES) and not NOT_RECORDED.search(name)
    return name in VARIABLES or of_family


def _image() -> dict[str, str | None] | None:
    """The base of the image that this process runs in, as its build named it; None where it did not."""
    base = os.environ.get(BASE_VARIABLE)
    if not base:
        return None
    name, _, digest = base.partition("@")
    return {"base": name, "base_digest": digest or None}


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
