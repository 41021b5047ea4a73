"""The devices that steps run on: one interface, one module per kind of device, and the choice among them."""

from bnsuite.measure.devices.cuda import VARIABLES, torch_facts
from bnsuite.measure.devices.device import Device, DeviceError, Telemetry
from bnsuite.measure.devices.registry import KINDS, NAMES, get, resolve

__all__ = ["KINDS", "NAMES", "VARIABLES", "Device", "DeviceError", "Telemetry", "get", "resolve", "torch_facts"]
