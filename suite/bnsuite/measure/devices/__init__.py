"""The devices that steps run on: one interface, one module per kind of device, and the choice among them."""

from bnsuite.measure.devices.cuda import VARIABLE_FAMILIES, VARIABLES, is_rehearsed, torch_facts, why_refused
from bnsuite.measure.devices.device import Device, DeviceError, Telemetry, at_work
from bnsuite.measure.devices.registry import KINDS, NAMES, get, resolve

__all__ = [
    "KINDS",
    "NAMES",
    "VARIABLES",
    "VARIABLE_FAMILIES",
    "Device",
    "DeviceError",
    "Telemetry",
    "at_work",
    "get",
    "is_rehearsed",
    "resolve",
    "torch_facts",
    "why_refused",
]
