"""What NVML says of a GPU: what it is, how it is, and what it went through during a measurement. Nothing is set."""

from bnsuite.measure.nvml.handle import Handle, find
from bnsuite.measure.nvml.state import (
    Details,
    Gpu,
    Health,
    Process,
    describe,
    details,
    driver_version,
    health,
    used_bytes,
)
from bnsuite.measure.nvml.watch import GpuWatch, Watch

__all__ = [
    "Details",
    "Gpu",
    "GpuWatch",
    "Handle",
    "Health",
    "Process",
    "Watch",
    "describe",
    "details",
    "driver_version",
    "find",
    "health",
    "used_bytes",
]
