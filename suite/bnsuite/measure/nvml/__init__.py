"""NVML's account of a GPU: facts, state, and a watch over a measurement. Nothing is ever set."""

from bnsuite.measure.nvml.handle import Handle, find
from bnsuite.measure.nvml.hindrance import hindrance
from bnsuite.measure.nvml.state import GpuFacts, Health, Process, describe, driver_version, health, used_bytes
from bnsuite.measure.nvml.survey import GpuCondition, GpuSurvey, survey
from bnsuite.measure.nvml.watch import GpuWatch, Presence, Watch

__all__ = [
    "GpuCondition",
    "GpuFacts",
    "GpuSurvey",
    "GpuWatch",
    "Handle",
    "Health",
    "Presence",
    "Process",
    "Watch",
    "describe",
    "driver_version",
    "find",
    "health",
    "hindrance",
    "survey",
    "used_bytes",
]
