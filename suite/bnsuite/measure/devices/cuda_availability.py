"""Whether a GPU can be used, and why not, in one line with a fix."""

from __future__ import annotations

import re
import warnings
from functools import cache
from pathlib import Path

from bnsuite.cases.gpu_errors import explained
from bnsuite.measure import nvml
from bnsuite.measure.devices.device import DeviceError


@cache
def presence() -> nvml.Presence:
    """The process's one record of the processes on the GPUs. Its first call comes before anything touches a GPU."""
    return nvml.Presence()


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


def why_refused(name: str, error: BaseException) -> str:
    """Why a GPU that is there could not be used, in one line: the error, and what the driver says of it."""
    import torch

    line, _, fix = explained(error)
    index = name.partition(":")[2]
    return f"{line}; {nvml.hindrance(int(index) if index.isdigit() else 0, torch.version.cuda) or fix}"


def in_container() -> bool:
    """True if there are signs that this process runs in a Docker or Podman container."""
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


def _in_short(complaint: str) -> str:
    """The beginning of a warning of torch's in one line, without the place in its source."""
    line = " ".join(complaint.split()).partition(" (Triggered internally")[0]
    return line.removeprefix("CUDA initialization: ")[:300]


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
