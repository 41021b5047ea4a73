"""Errors of a GPU: which are told from those of a layer, which stay, and how each is one line."""

from __future__ import annotations

import pytest
import torch

from bnsuite.cases import gpu_errors

FULL = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.15 GiB of which 12.56 MiB is "
    "free. Including non-PyTorch memory, this process has 79.13 GiB memory in use."
)
HINTS = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)


@pytest.mark.parametrize(
    ("error", "of_gpu", "sticky"),
    [
        (RuntimeError(f"CUDA error: an illegal memory access was encountered{HINTS}"), True, True),
        (RuntimeError(f"CUDA error: device-side assert triggered{HINTS}"), True, True),
        (RuntimeError(f"CUDA error: unspecified launch failure{HINTS}"), True, True),
        (RuntimeError(f"CUDA error: uncorrectable ECC error encountered{HINTS}"), True, True),
        (RuntimeError(f"CUDA error: unknown error{HINTS}"), True, True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"), True, True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True, True),
        (RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"), True, True),
        (RuntimeError(f"CUDA error: invalid argument{HINTS}"), True, False),
        (RuntimeError(f"CUDA error: operation not permitted when stream is capturing{HINTS}"), True, False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"), True, False),
        (torch.OutOfMemoryError(FULL), True, False),
        (RuntimeError("running_mean should contain 5 elements not 4"), False, False),
        (ValueError("CUDA error: not of torch"), False, False),
        (RuntimeError("NVML: Unknown Error"), False, False),
    ],
    ids=lambda one: str(one)[:40] if isinstance(one, Exception) else None,
)
def test_errors_of_a_gpu_by_their_words(error: Exception, of_gpu: bool, sticky: bool) -> None:
    """As torch 2.4 raises them, which has words alone: out of memory and bad arguments leave a process that works."""
    assert (gpu_errors.is_of_gpu(error), gpu_errors.is_sticky(error)) == (of_gpu, sticky)


@pytest.mark.skipif(not hasattr(torch, "AcceleratorError"), reason="this torch has no AcceleratorError")
@pytest.mark.parametrize(("number", "sticky"), [(700, True), (719, True), (2, False), (1, False), (900, False)])
def test_errors_of_a_gpu_by_their_numbers(number: int, sticky: bool) -> None:
    """A newer torch gives CUDA's own number, which decides."""
    error = torch.AcceleratorError("CUDA error: in other words")
    error.error_code = number
    assert gpu_errors.is_of_gpu(error)
    assert gpu_errors.is_sticky(error) is sticky


@pytest.mark.skipif(not hasattr(torch, "AcceleratorError"), reason="this torch has no AcceleratorError")
@pytest.mark.parametrize(
    ("number", "words"), [(46, "all CUDA devices are busy or unavailable"), (999, "unknown error")]
)
def test_number_and_words_are_of_one_kind(number: int, words: str) -> None:
    """The same fix and the same end of the process, whichever of them a torch gives."""
    numbered = torch.AcceleratorError("CUDA error: in other words")
    numbered.error_code = number
    assert gpu_errors.kind_of(numbered) is gpu_errors.kind_of(RuntimeError(f"CUDA error: {words}{HINTS}"))
    assert gpu_errors.kind_of(numbered) is not None


def test_each_is_one_line() -> None:
    """Lack of memory names the bytes; a sticky one says why the process was ended; others are as before."""
    assert gpu_errors.one_line(torch.OutOfMemoryError(FULL)) == (
        "OutOfMemoryError: out of GPU memory: 20.00 GiB were asked for, 12.56 MiB of 79.15 GiB were free; end what "
        "else is on the GPU (`nvidia-smi` lists it), or leave the case out with -k"
    )
    assert gpu_errors.one_line(RuntimeError(f"CUDA error: device-side assert triggered{HINTS}")) == (
        "RuntimeError: CUDA error: device-side assert triggered; the process was ended, since no call of it works any "
        "more"
    )
    assert gpu_errors.one_line(KeyError("x")) == "KeyError: 'x'"
    assert gpu_errors.one_line(ValueError()) == "ValueError"


def test_only_errors_of_a_gpu_are_remembered() -> None:
    """A layer that refuses an input leaves the process as it was."""
    gpu_errors.forget()
    gpu_errors.note(RuntimeError("expected 4D input"))
    assert gpu_errors.caught() is None
    gpu_errors.note(RuntimeError("CUDA error: invalid argument"))
    assert gpu_errors.caught() == "RuntimeError: CUDA error: invalid argument"
    gpu_errors.forget()
    assert gpu_errors.caught() is None
