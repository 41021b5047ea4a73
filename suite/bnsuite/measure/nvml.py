"""What NVML says of a GPU: the only file that imports pynvml."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


class NvmlError(Exception):
    """NVML can't answer: the binding or the driver is missing, or a call failed."""


@contextmanager
def _library() -> Iterator[Any]:
    """The initialised binding; whatever goes wrong with it inside the context is an NvmlError."""
    try:
        import pynvml
    except ImportError as error:
        raise NvmlError("nvidia-ml-py is not installed") from error
    try:
        pynvml.nvmlInit()
        try:
            yield pynvml
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise NvmlError(f"NVML: {error}") from error


def driver_version() -> tuple[str | None, str]:
    """The driver's version, or None and what stands in the way."""
    try:
        with _library() as library:
            return _text(library.nvmlSystemGetDriverVersion()), ""
    except NvmlError as error:
        return None, str(error)


def describe(uuid: str | None) -> Gpu | None:
    """The GPU with this UUID (as torch gives it, without "GPU-"), or None where NVML can't say."""
    if uuid is None:
        return None
    try:
        with _library() as library:
            handle = _handle(library, uuid)
            power_mw = _optional(library, library.nvmlDeviceGetEnforcedPowerLimit, handle)
            mig = _optional(library, library.nvmlDeviceGetMigMode, handle)
            return Gpu(
                name=_text(library.nvmlDeviceGetName(handle)),
                uuid=_text(library.nvmlDeviceGetUUID(handle)),
                memory_total_bytes=int(library.nvmlDeviceGetMemoryInfo(handle).total),
                power_limit_w=None if power_mw is None else power_mw / 1e3,
                mig=None if mig is None else bool(mig[0]),
            )
    except NvmlError:
        return None


def used_bytes(uuid: str | None) -> int | None:
    """Memory in use on the whole GPU, by whatever process, or None where NVML can't say."""
    if uuid is None:
        return None
    try:
        with _library() as library:
            return int(library.nvmlDeviceGetMemoryInfo(_handle(library, uuid)).used)
    except NvmlError:
        return None


def _handle(library: Any, uuid: str) -> Any:
    """The GPU, or the MIG slice, of this UUID."""
    bare = uuid.removeprefix("GPU-").removeprefix("MIG-")
    try:
        return library.nvmlDeviceGetHandleByUUID(f"GPU-{bare}".encode())
    except library.NVMLError_NotFound:
        return library.nvmlDeviceGetHandleByUUID(f"MIG-{bare}".encode())


def _optional(library: Any, call: Callable[[Any], Any], handle: Any) -> Any:
    """What a call answers, or None where the driver or the GPU doesn't know it."""
    try:
        return call(handle)
    except (library.NVMLError_NotSupported, library.NVMLError_FunctionNotFound):
        return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
