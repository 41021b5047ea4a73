"""Controls: fixed work of torch's own that rides along with every case and tells what the machine itself did.

They are timed just before and just after a case, in the same process. A change that a control shows as well is
the machine's, not the case's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bnsuite.cases import Step
from bnsuite.measure.clock import time_rounds

#: Rounds on either side of a case, and about how long one takes.
ROUNDS = 5
ROUND_S = 1e-3

#: What a training moves is not declared; its copy control has this size.
DEFAULT_BYTES = 1 << 20


def copy(nbytes: int, device: str) -> Step:
    """A plain copy that moves `nbytes`, half of them read and half written."""
    import torch

    source = torch.ones(max(nbytes // 8, 1), device=device)  # four bytes an element, each read and written
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


class Controls:
    """The controls of one case; :meth:`sample` is called around the case's rounds."""

    def __init__(self, nbytes: int | None, device: str, clock: Callable[[], Any]) -> None:
        self._clock = clock
        self._steps = {"copy": copy(nbytes or DEFAULT_BYTES, device), "linear": linear(device)}
        self._iterations: dict[str, int] = {}
        #: Seconds a step, by control.
        self.samples: dict[str, list[float]] = {name: [] for name in self._steps}
        for name, step in self._steps.items():
            once = min(time_rounds(step, clock, 3))
            self._iterations[name] = max(1, int(ROUND_S / max(once, 1e-9)))

    def sample(self) -> None:
        """Time each control for a few rounds."""
        for name, step in self._steps.items():
            self.samples[name] += time_rounds(step, self._clock, ROUNDS, self._iterations[name])
