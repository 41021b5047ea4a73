"""Controls: fixed operations of torch's own, timed in the same process as a case, that show what the machine did.

In a run they are timed just before and just after each case. A change that a control shows as well is the machine's,
not the case's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from bnsuite.measure.clock import time_rounds

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


#: The controls that a comparison times as if they were cases, by the names it asks for them.
INTERLEAVED: dict[str, Callable[[str], Step]] = {
    "control/copy": partial(copy, DEFAULT_BYTES),
    "control/linear": linear,
}


class Controls:
    """The controls of one case, with its own as `more`; :meth:`sample` is called around the case's rounds."""

    def __init__(self, nbytes: int | None, device: Device, more: Mapping[str, Step] = MappingProxyType({})) -> None:
        self._clock = device.clock
        self._steps = {"copy": copy(nbytes or DEFAULT_BYTES, device.name), "linear": linear(device.name), **more}
        self._iterations: dict[str, int] = {}
        #: Seconds per step, by control.
        self.samples: dict[str, list[float]] = {name: [] for name in self._steps}
        for name, step in self._steps.items():
            once = min(time_rounds(step, self._clock, 3))
            self._iterations[name] = max(1, int(ROUND_S / max(once, 1e-9)))

    def sample(self) -> None:
        """Times each control for a few rounds."""
        for name, step in self._steps.items():
            self.samples[name] += time_rounds(step, self._clock, ROUNDS, self._iterations[name])
