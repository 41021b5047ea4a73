"""Errors of a GPU: those after which a process is worth nothing, those that a check has caught, each in one line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Kind:
    """Errors of CUDA, and of the libraries above it, that mean the same."""

    #: Parts of their messages, in lower case.
    words: tuple[str, ...]
    #: Their numbers in the CUDA runtime API ("cudaError_t").
    numbers: tuple[int, ...] = ()
    #: Every later call of the process fails with them as well.
    sticky: bool = False
    #: The code of the fix in the doctor's table, None if there is none, and the fix in words.
    code: str | None = None
    fix: str = "see `nvidia-smi`"


#: A GPU that takes no other process: in exclusive mode, or prohibited.
BUSY = Kind(
    words=("busy or unavailable", "cudaerrordevicesunavailable"),
    numbers=(46,),
    code="allow-compute",
    fix=(
        "it is in exclusive mode and another process has it, or in prohibited mode: end that process (`nvidia-smi` "
        "lists it), or let several use it with `sudo nvidia-smi -c DEFAULT`"
    ),
)
NO_MEMORY = Kind(
    words=("out of memory",),
    numbers=(2,),
    code="free-gpu-memory",
    fix="other processes hold its memory; `nvidia-smi` names them",
)
#: All kinds that are known; the first whose words are in a message is that of the error.
KINDS = (
    Kind(
        words=("no kernel image is available", "invalid device function"),
        numbers=(98, 209),
        code="torch-for-gpu",
        fix="this torch has no kernels for this GPU; install a build for its compute capability",
    ),
    BUSY,
    NO_MEMORY,
    Kind(
        words=("driver version is insufficient", "driver on your system is too old"),
        numbers=(35,),
        code="newer-driver",
        fix="the driver is older than this torch's CUDA; install a newer driver, or a torch built for the driver's",
    ),
    Kind(
        words=("system not yet initialized",),
        numbers=(802,),
        code="fabric-manager",
        fix="the GPUs' fabric is not up: sudo systemctl start nvidia-fabricmanager",
    ),
    Kind(  # the GPU is broken
        words=("uncorrectable", "gpu is lost", "fallen off the bus", "hardware stack error", "unknown error"),
        numbers=(214, 220, 714, 999),
        sticky=True,
        code="reset-gpu",
        fix="it needs a reset: end all work on it, then sudo nvidia-smi --gpu-reset -i N",
    ),
    Kind(  # a kernel is broken
        words=(
            "illegal memory access",
            "launch timed out",
            "context is destroyed",
            "device-side assert triggered",  # torch adds a hint about "device-side assertions" to every error
            "illegal instruction",
            "misaligned address",
            "operation not supported on global/shared address space",
            "invalid program counter",
            "unspecified launch failure",
            "_execution_failed",
            "_internal_error",
        ),
        numbers=(700, 702, 709, 710, 715, 716, 717, 718, 719),
        sticky=True,
    ),
)
#: Libraries above CUDA name its errors by words of their own.
_LIBRARIES = re.compile(
    r"\b(CUDA error|cuDNN error|CUDNN_STATUS_\w+|CUBLAS_STATUS_\w+|CUDA driver error)\b|\bTriton Error \[CUDA\]"
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


def kind_of(error: BaseException) -> Kind | None:
    """Returns the kind of an error, None for one that is not in KINDS.

    Torch 2.4 has CUDA's words alone. A newer one has the number as well, which decides.
    """
    number = getattr(error, "error_code", None)
    if isinstance(number, int):
        return next((kind for kind in KINDS if number in kind.numbers), None)
    text = str(error).lower()
    return next((kind for kind in KINDS if any(word in text for word in kind.words)), None)


def is_sticky(error: BaseException) -> bool:
    """Returns True for an error after which every call of this process fails: only another process gets rid of it.

    Out of memory and an invalid argument are none.
    """
    kind = kind_of(error)
    return is_of_gpu(error) and kind is not None and kind.sticky


def explained(error: BaseException) -> tuple[str, str | None, str]:
    """Returns the first line of an error of CUDA, the code of its fix (None for an unknown one) and the fix."""
    text = str(error).strip()
    kind = kind_of(error) or Kind(words=())
    return (text.splitlines()[0] if text else type(error).__name__), kind.code, kind.fix


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
