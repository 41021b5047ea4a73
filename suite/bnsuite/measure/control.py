"""Controls: fixed operations of torch's own, timed in the same process as a case, that show what the machine did.

In a run they are timed just before and just after each case. A change that a control shows as well is the machine's,
not the case's. A device says which of them tell its states apart: a memory's bandwidth (copy), small work (linear), the
clock of the arithmetic units (compute) and the host (launch).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnsuite.cases import Step
    from bnsuite.measure.devices import Device

#: Rounds on either side of a case, and about how long one takes.
ROUNDS = 5
ROUND_S = 1e-3

#: Bytes that the copy moves where a case, such as a training, declares none.
DEFAULT_BYTES = 1 << 20


def copy(nbytes: int, device: str) -> Step:
    """A plain copy that moves `nbytes`, half of them read and half written."""
    import torch

    source = torch.ones(max(nbytes // 8, 1), device=device)  # four bytes per element, each read and written
    target = torch.empty_like(source)

    def step() -> None:
        target.copy_(source)

    return step


def linear(device: str) -> Step:
    """A small matrix product and an activation, as in an MLP: bound by arithmetic and by dispatch."""
    import torch

    left, right = torch.ones(64, 128, device=device), torch.ones(128, 64, device=device)

    def step() -> None:
        torch.mm(left, right).relu_()

    return step


def compute(device: Device) -> Step:
    """A product of large matrices in the fastest common precision: bound by the clock of the arithmetic units."""
    import torch

    rows, dtype = device.product()
    # Numbers that differ: equal ones take less power, and so leave the clock higher than real ones do.
    numbers = torch.arange(rows * rows, dtype=torch.int32, device=device.name).remainder_(251).sub_(125)  # (rows^2,)
    matrix = numbers.to(getattr(torch, dtype)).div_(125).view(rows, rows)
    target = torch.empty_like(matrix)

    def step() -> None:
        torch.mm(matrix, matrix, out=target)

    return step


def launch(device: Device) -> Step:
    """The smallest work there is: only the host's time to launch it says something."""
    import torch

    one = torch.zeros(1, device=device.name)

    def step() -> None:
        one.zero_()

    return step


#: The control of which the host's time is taken.
LAUNCH = "launch"

#: All controls, by name: each takes the bytes that a copy moves, and the device.
MAKERS: dict[str, Callable[[int, Device], Step]] = {
    "copy": lambda nbytes, device: copy(nbytes, device.name),
    "linear": lambda _, device: linear(device.name),
    "compute": lambda _, device: compute(device),
    LAUNCH: lambda _, device: launch(device),
}

#: The controls that a comparison times as if they were cases, by the names it asks for them.
INTERLEAVED: dict[str, Callable[[Device], Step]] = {
    f"control/{name}": partial(make, DEFAULT_BYTES) for name, make in MAKERS.items()
}

#: Steps of a round on a device with a queue, at most: all rounds of a control should fit into one hold.
MAX_QUEUED, LAUNCHES = 50, 100


class Controls:
    """The controls of one case; :meth:`sample` is called around the case's rounds."""

    def __init__(self, nbytes: int | None, device: Device) -> None:
        self._device = device
        self._steps = {name: MAKERS[name](nbytes or DEFAULT_BYTES, device) for name in device.controls}
        self._iterations: dict[str, int] = {}
        #: Seconds per step, by control; of the launch control, seconds of the host.
        self.samples: dict[str, list[float]] = {name: [] for name in self._steps}
        for name, step in self._steps.items():
            once = min(device.time_rounds(step, 3).device_s)
            iterations = max(1, int(ROUND_S / max(once, 1e-9)))
            if device.holds_queue:
                iterations = LAUNCHES if name == LAUNCH else min(iterations, MAX_QUEUED)
            self._iterations[name] = iterations

    def sample(self) -> None:
        """Times each control for a few rounds."""
        for name, step in self._steps.items():
            timed = self._device.time_rounds(step, ROUNDS, self._iterations[name])
            self.samples[name] += (timed.host_s if name == LAUNCH else None) or timed.device_s
