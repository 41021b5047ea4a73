"""Errors with which CUDA ends or refuses work, in one line each with the fix."""

from __future__ import annotations

#: Words of errors with which CUDA ends or refuses work, each with the code of its fix and the fix in words.
CUDA_ERRORS = (
    (
        ("no kernel image is available", "invalid device function"),
        "torch-for-gpu",
        "this torch has no kernels for this GPU; install a build for its compute capability",
    ),
    (
        ("busy or unavailable", "cudaErrorDevicesUnavailable"),
        "allow-compute",
        "another process has it for itself; end that, or allow several: sudo nvidia-smi -c DEFAULT",
    ),
    (("out of memory",), "free-gpu-memory", "other processes hold its memory; `nvidia-smi` names them"),
    (
        ("driver version is insufficient", "driver on your system is too old"),
        "newer-driver",
        "the driver is older than this torch's CUDA; install a newer driver, or a torch built for the driver's",
    ),
    (
        ("system not yet initialized",),
        "fabric-manager",
        "the GPUs' fabric is not up: sudo systemctl start nvidia-fabricmanager",
    ),
    (
        ("uncorrectable ECC", "GPU is lost", "fallen off the bus", "hardware stack error", "unknown error"),
        "reset-gpu",
        "it needs a reset: end all work on it, then sudo nvidia-smi --gpu-reset -i N",
    ),
)


def explained(error: BaseException) -> tuple[str, str | None, str]:
    """Returns the first line of an error of CUDA, the code of its fix (None for an unknown one) and the fix."""
    text = str(error).strip()
    line = text.splitlines()[0] if text else type(error).__name__
    for words, code, fix in CUDA_ERRORS:
        if any(word.lower() in text.lower() for word in words):
            return line, code, fix
    return line, None, "see `nvidia-smi`"
