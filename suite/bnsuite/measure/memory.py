"""The most memory a step holds at once, in a pass of its own."""

from __future__ import annotations

import contextlib
import gc
import resource
from pathlib import Path
from typing import TYPE_CHECKING

from bnsuite.cases import allocations, data
from bnsuite.measure import nvml
from bnsuite.measure.device import index_of, uuid

if TYPE_CHECKING:
    from bnsuite.cases import Step


def measure(step: Step, device: str) -> dict[str, int | None]:
    """Bytes the step holds at its peak above what it found: in torch's allocator, and as seen from outside."""
    if device.startswith("cuda"):
        return _on_gpu(step, device)
    return {"allocated_peak_bytes": allocations.settled_peak(step), "rss_peak_bytes": _rss_peak_bytes()}


def _on_gpu(step: Step, device: str) -> dict[str, int | None]:
    import torch

    data.load.cache_clear()  # what other cases needed in this process is none of this one's
    gc.collect()
    torch.cuda.empty_cache()
    step()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    torch.cuda.synchronize(device)
    return {
        "allocated_peak_bytes": torch.cuda.max_memory_allocated(device) - before,
        "reserved_peak_bytes": torch.cuda.max_memory_reserved(device),
        "gpu_used_bytes": nvml.used_bytes(uuid(device), index_of(device)),
        "rss_peak_bytes": _rss_peak_bytes(),
    }


def forget_peak(device: str) -> None:
    """Begin a new high-water mark for :func:`peak_bytes`."""
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # a kernel that doesn't let a process do that
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes(device: str) -> int | None:
    """The most the process held since :func:`forget_peak`: in torch's allocator on a GPU, resident on a CPU.

    On a CPU the heap is kept, so what an earlier training needed is in it.
    """
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), None)


def _rss_peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
