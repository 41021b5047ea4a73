"""What NVML says of a GPU: the only file that imports pynvml."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Gpu:
    """One GPU as its driver describes it; None where the driver is too old to say."""

    name: str
    uuid: str
    memory_total_bytes: int
    power_limit_w: float | None
    mig: bool | None


@contextmanager
def _library() -> Iterator[Any]:
    """The initialised binding; raises ImportError or pynvml.NVMLError."""
    import pynvml

    pynvml.nvmlInit()
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _trouble(error: Exception) -> str:
    return f"NVML: {error}"


def driver_version() -> tuple[str | None, str]:
    """The driver's version, or None and what stands in the way."""
    try:
        with _library() as library:
            return _text(library.nvmlSystemGetDriverVersion()), ""
    except Exception as error:  # the binding may be missing, or any NVML call fail: both are an answer here
        return None, _trouble(error)


def describe(uuid: str) -> Gpu | None:
    """The GPU with this UUID (as torch gives it, without "GPU-"), or None where NVML can't say."""
    try:
        with _library() as library:
            handle = _handle(library, uuid)
            return Gpu(
                name=_text(library.nvmlDeviceGetName(handle)),
                uuid=_text(library.nvmlDeviceGetUUID(handle)),
                memory_total_bytes=int(library.nvmlDeviceGetMemoryInfo(handle).total),
                power_limit_w=_optional(lambda: library.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000),
                mig=_optional(lambda: bool(library.nvmlDeviceGetMigMode(handle)[0])),
            )
    except Exception:
        return None


def used_bytes(uuid: str) -> int | None:
    """Memory in use on the whole GPU, by whatever process, or None where NVML can't say."""
    try:
        with _library() as library:
            return int(library.nvmlDeviceGetMemoryInfo(_handle(library, uuid)).used)
    except Exception:
        return None


def _handle(library: Any, uuid: str) -> Any:
    prefix = "" if uuid.startswith(("GPU-", "MIG-")) else "GPU-"
    return library.nvmlDeviceGetHandleByUUID(f"{prefix}{uuid}".encode())


def _optional(read: Any) -> Any:
    try:
        return read()
    except Exception:  # NotSupported and FunctionNotFound: an older driver or another kind of GPU
        return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
