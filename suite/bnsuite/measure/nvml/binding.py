"""The binding to the driver, initialised once and kept: the only file that imports pynvml."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from typing import Any

#: The module beside this one that is a copy of the binding, where the coordinator has put one.
COPY = "pynvml"

#: Answers by which a driver says that it doesn't know, or won't tell: no sign that anything is wrong.
SILENCES = (
    "NVML_ERROR_INVALID_ARGUMENT",  # such as a MIG slice asked for its clocks
    "NVML_ERROR_NOT_SUPPORTED",
    "NVML_ERROR_NO_PERMISSION",
    "NVML_ERROR_FUNCTION_NOT_FOUND",
    "NVML_ERROR_NO_DATA",
    "NVML_ERROR_VGPU_ECC_NOT_SUPPORTED",
    "NVML_ERROR_ARGUMENT_VERSION_MISMATCH",
    "NVML_ERROR_DEPRECATED",
)


class NvmlError(Exception):
    """NVML can't answer: the binding or the driver is missing, or a call failed."""


class SilentError(NvmlError):
    """NVML works, but doesn't know this or won't tell."""


def library() -> Any:
    """The initialised binding. A driver that isn't there is asked for again at the next call."""
    return _initialised(os.getpid())


@cache
def _initialised(_process: int) -> Any:
    binding = _binding()
    try:
        binding.nvmlInit()
    except binding.NVMLError as error:
        raise NvmlError(f"NVML: {error}") from error
    return binding


def _binding() -> Any:
    """nvidia-ml-py as it is installed here; else the copy that came with us into another environment."""
    try:
        import pynvml
    except ImportError as error:
        try:
            return import_module(f"{__package__}.{COPY}")
        except ImportError:
            raise NvmlError("nvidia-ml-py is not installed") from error
    return pynvml


def call(names: str | tuple[str, ...], *arguments: Any) -> Any:
    """What the first of these functions answers that both the binding and the driver have.

    All that goes wrong is an NvmlError.
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
            silent = error.value in {getattr(binding, code, None) for code in SILENCES}
            raise (SilentError if silent else NvmlError)(f"NVML: {error}") from error
        except UnicodeDecodeError as error:
            raise NvmlError(f"NVML: {name} answers no text") from error
    raise SilentError("NVML: Function Not Found")


def text(names: str, *arguments: Any) -> str:
    """What a function answers, as text: some versions of the binding give bytes."""
    value = call(names, *arguments)
    return value.decode() if isinstance(value, bytes) else str(value)


class Questions:
    """Asks one thing after another: None where there is no answer, and the first trouble is kept."""

    def __init__(self) -> None:
        self.trouble: str | None = None

    def ask(self, names: str | tuple[str, ...], *arguments: Any) -> Any:
        try:
            return call(names, *arguments)
        except SilentError:
            return None
        except NvmlError as error:
            self.trouble = self.trouble or str(error)
            return None
