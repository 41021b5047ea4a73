"""Errors of a GPU: those after which a process is worth nothing, those that a check has caught, each in one line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

#: CUDA's errors that stay: every later call of the process fails with them (CUDA runtime API, "cudaError_t").
STICKY = {
    214: "uncorrectable ECC error",
    220: "uncorrectable NVLink error",
    700: "illegal memory access",
    702: "the launch timed out",
    709: "context is destroyed",
    710: "device-side assert",
    714: "hardware stack error",
    715: "illegal instruction",
    716: "misaligned address",
    717: "operation not supported on global/shared address space",
    718: "invalid program counter",
    719: "unspecified launch failure",
    999: "unknown error",
}
#: A GPU that takes no other process: in exclusive mode, or prohibited.
BUSY = re.compile(r"busy or unavailable|exclusive", re.IGNORECASE)
#: Libraries above CUDA name its errors by words of their own.
_LIBRARIES = re.compile(r"\b(CUDA error|cuDNN error|CUDNN_STATUS_\w+|CUBLAS_STATUS_\w+|CUDA driver error)\b")
_STICKY_WORDS = re.compile(
    r"illegal memory access|device-side assert|unspecified launch failure|misaligned address|illegal instruction|"
    r"uncorrectable|hardware stack error|invalid program counter|launch timed out|context is destroyed|"
    r"CUDA error: unknown error|_EXECUTION_FAILED|_INTERNAL_ERROR",
    re.IGNORECASE,
)
_MEMORY = re.compile(
    r"Tried to allocate (?P<asked>[\d.]+ \w+)\..*?total capacity of (?P<total>[\d.]+ \w+).*?"
    r"of which (?P<free>[\d.]+ \w+) is free",
    re.DOTALL,
)


def is_of_gpu(error: BaseException) -> bool:
    """Returns True for an error of CUDA or a library on it: one that a broken layer does not raise by itself."""
    import torch

    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    accelerator: Any = getattr(torch, "AcceleratorError", None)  # torch 2.8 and newer
    if accelerator is not None and isinstance(error, accelerator):
        return True
    return isinstance(error, RuntimeError) and _LIBRARIES.search(str(error)) is not None


def is_sticky(error: BaseException) -> bool:
    """Returns True for an error after which every call of this process fails: only another process gets rid of it.

    Out of memory and an invalid argument are none. Torch 2.4 has CUDA's words alone, a newer one its number as well.
    """
    if not is_of_gpu(error):
        return False
    number = getattr(error, "error_code", None)
    if isinstance(number, int):
        return number in STICKY
    return _STICKY_WORDS.search(str(error)) is not None


def one_line(error: BaseException) -> str:
    """Returns an exception in one line; for lack of memory with the bytes that were asked for and those free."""
    kind, text = type(error).__name__, str(error).strip().splitlines()
    first = text[0] if text else ""
    if kind == "OutOfMemoryError" and (found := _MEMORY.search(str(error))):
        return (
            f"{kind}: out of GPU memory: {found['asked']} were asked for, {found['free']} of {found['total']} were "
            "free; end what else is on the GPU (`nvidia-smi` lists it), or leave the case out with -k"
        )
    if is_sticky(error):
        return f"{kind}: {first}; the process was ended, since no call of it works any more"
    return f"{kind}: {first}" if first else kind


@dataclass
class _Caught:
    """Errors of the GPU that checks took for outcomes, since :func:`forget`."""

    lines: list[str] = field(default_factory=list)


_CAUGHT = _Caught()


def note(error: BaseException) -> None:
    """Remembers an error that a check catches, if it is the GPU's: the process makes room for another one then."""
    if is_of_gpu(error):
        _CAUGHT.lines.append(one_line(error))


def forget() -> None:
    """Forgets the errors of an earlier check."""
    _CAUGHT.lines.clear()


def caught() -> str | None:
    """Returns the first error of the GPU that a check caught, in one line; None if there was none."""
    return _CAUGHT.lines[0] if _CAUGHT.lines else None
