"""The devices that steps run on: one interface, one module per kind of device, and the choice among them."""

from bnsuite.measure.devices.cuda_availability import is_rehearsed, why_refused
from bnsuite.measure.devices.cuda_settings import VARIABLE_FAMILIES, VARIABLES, torch_facts
from bnsuite.measure.devices.device import Device, DeviceError, Telemetry, at_work
from bnsuite.measure.devices.registry import ALL, KINDS, NAMES, every, get, resolve

__all__ = [
    "ALL",
    "KINDS",
    "NAMES",
    "VARIABLES",
    "VARIABLE_FAMILIES",
    "Device",
    "DeviceError",
    "Telemetry",
    "at_work",
    "every",
    "get",
    "is_rehearsed",
    "resolve",
    "torch_facts",
    "why_refused",
]
