"""The devices that steps run on: one interface, one module per kind of device, and the choice among them."""

from bnsuite.measure.devices.cuda import VARIABLES, is_rehearsed, torch_facts, words
from bnsuite.measure.devices.device import Device, DeviceError, Telemetry
from bnsuite.measure.devices.registry import NAMES, get, resolve

__all__ = [
    "NAMES",
    "VARIABLES",
    "Device",
    "DeviceError",
    "Telemetry",
    "get",
    "is_rehearsed",
    "resolve",
    "torch_facts",
    "words",
]
