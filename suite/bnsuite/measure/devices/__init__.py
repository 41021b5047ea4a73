"""The devices that steps run on: one interface, one module per kind of device, and the choice among them."""

from bnsuite.measure.devices.cuda import VARIABLES, torch_facts
from bnsuite.measure.devices.device import Device, DeviceError, Telemetry
from bnsuite.measure.devices.registry import NAMES, every, get, resolve

__all__ = ["NAMES", "VARIABLES", "Device", "DeviceError", "Telemetry", "every", "get", "resolve", "torch_facts"]
