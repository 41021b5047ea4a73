"""One kernel before anything is measured: this torch runs on this device, and computes what it should."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from bnsuite.cases.gpu_errors import explained
from bnsuite.measure import devices

#: Elements of the tensor: twice as many ones are summed without rounding.
ELEMENTS = 1 << 20


def run(asked: str) -> dict[str, Any]:
    """Runs a few kernels on the device that `asked` means; returns how that went. Never raises.

    `first_s` is the time to the first result, with the start of the device in this process; `again_s` that of a second.
    """
    found: dict[str, Any] = {"device": None, "right": None, "first_s": None, "again_s": None}
    try:
        device = devices.resolve(asked)
        found["device"] = device.name
        device.use(watched=False)
        right, found["first_s"] = _once(device.name)
        again, found["again_s"] = _once(device.name)
        return {**found, "right": right and again, "error": None, "fix": None}
    except devices.DeviceError as error:
        return {**found, "error": str(error), "fix": None}
    except Exception as error:  # noqa: BLE001  # a torch that is broken or missing raises whatever it likes
        line, code, _ = explained(error)
        return {**found, "error": line, "fix": code}


def _once(device: str) -> tuple[bool, float]:
    """Returns whether a product and a sum came out right, and the seconds from the launch to the result."""
    import torch

    begin = perf_counter()
    total = (torch.ones(ELEMENTS, device=device) * 2).sum().item()
    return total == 2 * ELEMENTS, perf_counter() - begin
