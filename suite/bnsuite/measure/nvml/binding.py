"""The binding to the driver, initialised once per process: the only file that imports pynvml."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from typing import Any

#: The module beside this one that is a copy of the binding, where the coordinator has put one.
COPY = "pynvml"

#: Errors that mean that this driver does not offer or permit something; none is a sign that anything is wrong.
UNAVAILABLE = (
    "NVML_ERROR_INVALID_ARGUMENT",  # such as a MIG slice asked for its clocks
    "NVML_ERROR_NOT_SUPPORTED",
    "NVML_ERROR_NO_PERMISSION",
    "NVML_ERROR_FUNCTION_NOT_FOUND",
    "NVML_ERROR_NO_DATA",
    "NVML_ERROR_VGPU_ECC_NOT_SUPPORTED",
    "NVML_ERROR_ARGUMENT_VERSION_MISMATCH",
    "NVML_ERROR_DEPRECATED",
)


#: Errors of a sick driver, with the cause and the fix that NVIDIA's documentation and users name.
FIXES = {
    "NVML_ERROR_GPU_IS_LOST": (
        "it has fallen off the bus (Xid 79 in `dmesg`): check power, heat and seating, then reset it with "
        "`nvidia-smi -r` or reboot"
    ),
    "NVML_ERROR_RESET_REQUIRED": "reset it with `nvidia-smi -r`, or reboot",
    # systemd reloads the control group of a running container and takes the devices away: NVIDIA/nvidia-docker#1730
    "NVML_ERROR_UNKNOWN": (
        "in a container: its host has reloaded systemd and taken the GPU from its control group; start the container "
        "again, and keep it from coming back with CDI devices or Docker's cgroupfs driver"
    ),
    "NVML_ERROR_LIB_RM_VERSION_MISMATCH": (
        "the driver was updated and its kernel module was not loaded again: reboot, or end all that uses a GPU and "
        "`rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia`; start containers again as well"
    ),
    "NVML_ERROR_DRIVER_NOT_LOADED": "load it (`modprobe nvidia`), or install one",
}


class NvmlError(Exception):
    """NVML can't answer: the binding or the driver is missing, or a call failed."""


class UnavailableError(NvmlError):
    """NVML works, but this driver does not offer or permit this."""


def library() -> Any:
    """The initialised binding. A driver that is missing is tried again at the next call."""
    return _initialised(os.getpid())


@cache
def _initialised(_process: int) -> Any:
    binding = _binding()
    try:
        binding.nvmlInit()
    except binding.NVMLError as error:
        raise NvmlError(described(binding, error)) from error
    return binding


def described(binding: Any, error: Any) -> str:
    """The error in one line, with its cause and fix where they are known."""
    fix = next((fix for code, fix in FIXES.items() if error.value == getattr(binding, code, None)), None)
    return f"NVML: {error}" + (f"; {fix}" if fix else "")


def _binding() -> Any:
    """The installed nvidia-ml-py, or else the copy that the coordinator put beside this module."""
    try:
        import pynvml
    except ImportError as error:
        try:
            return import_module(f"{__package__}.{COPY}")
        except ImportError:
            raise NvmlError("nvidia-ml-py is not installed") from error
    return pynvml


def call(names: str | tuple[str, ...], *arguments: Any) -> Any:
    """The answer of the first of these functions that both the binding and the driver have.

    Raises NvmlError, for every kind of failure.
    """
    binding = library()
    for name in (names,) if isinstance(names, str) else names:
        function = getattr(binding, name, None)
        if function is None:
            continue
        try:
            return function(*arguments)
        except binding.NVMLError_FunctionNotFound:
            continue
        except binding.NVMLError as error:
            unavailable = error.value in {getattr(binding, code, None) for code in UNAVAILABLE}
            raise (UnavailableError if unavailable else NvmlError)(described(binding, error)) from error
        except UnicodeDecodeError as error:
            raise NvmlError(f"NVML: {name} returns no text") from error
    raise UnavailableError("NVML: Function Not Found")


def text(names: str, *arguments: Any) -> str:
    """The answer of a function as text: some versions of the binding return bytes."""
    value = call(names, *arguments)
    return value.decode() if isinstance(value, bytes) else str(value)


def is_unavailable(code: int) -> bool:
    """True if a return code means that this driver does not offer or permit something."""
    binding = library()
    return code in {getattr(binding, name, None) for name in UNAVAILABLE}


class Queries:
    """A series of calls: each returns None where there is no answer, and the first error is kept in `trouble`."""

    def __init__(self) -> None:
        self.trouble: str | None = None

    def ask(self, names: str | tuple[str, ...], *arguments: Any) -> Any:
        try:
            return call(names, *arguments)
        except UnavailableError:
            return None
        except NvmlError as error:
            self.complain(str(error))
            return None

    def complain(self, trouble: str) -> None:
        """Keeps the trouble, if it is the first."""
        self.trouble = self.trouble or trouble
