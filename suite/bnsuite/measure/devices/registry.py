"""The kinds of device, and the choice of the one to measure. A new kind is one line here and one module beside it."""

from __future__ import annotations

import re
from functools import cache

from bnsuite.measure.devices import cuda, cuda_availability
from bnsuite.measure.devices.cpu import Cpu
from bnsuite.measure.devices.device import Device, DeviceError

#: The kinds of device, by the first part of their names.
KINDS: dict[str, type[Device]] = {"cpu": Cpu, "cuda": cuda.Cuda}

#: The names that `resolve` accepts, in words and as a pattern.
NAMES = "auto, cpu, cuda or cuda:N"
ALL = "cuda:all"
_PATTERN = r"auto|cpu|cuda(:\d+)?"


@cache
def get(name: str) -> Device:
    """The device of a full name, "cpu" or "cuda:N": one object per name and process."""
    return KINDS[name.partition(":")[0]](name)


def every() -> list[str]:
    """The names of all GPUs of this machine; DeviceError, in one line, if there is none to be used."""
    cuda_availability.find(ALL)
    import torch

    return [f"cuda:{index}" for index in range(torch.cuda.device_count())]


def resolve(asked: str) -> Device:
    """The device that `asked` means; only "auto" may choose the CPU by itself.

    Raises DeviceError, in one line, for a name that is none and for a device that can't be used here.
    """
    if not re.fullmatch(_PATTERN, asked):
        raise DeviceError(f"--device {asked}: no such device; choose {NAMES}")
    if asked == "auto":
        asked = "cuda:0" if cuda_availability.is_available() else "cpu"
    return get(asked if asked == "cpu" else cuda_availability.find(asked))
