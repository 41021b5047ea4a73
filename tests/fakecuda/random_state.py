"""The generator of each GPU, apart from that of the CPU: numbers drawn on a GPU are drawn from its state."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

_STATES: dict[int, torch.Tensor] = {}
DEFAULT_SEED = 67280421310721


def _fresh(seed: int) -> torch.Tensor:
    return torch.Generator().manual_seed(seed).get_state()


def index(device: Any) -> int:
    """Returns the number of a GPU; without one, that of the current."""
    if isinstance(device, int) and device >= 0:
        return device
    named = None if device is None or isinstance(device, int) else torch.device(device).index
    return torch.cuda.current_device() if named is None else named


@contextlib.contextmanager
def drawing(gpu: int) -> Iterator[None]:
    """Draws from the generator of a GPU."""
    with torch._C.DisableTorchFunction():
        generator = torch.default_generator
        before = generator.get_state()
        generator.set_state(_STATES.setdefault(gpu, _fresh(DEFAULT_SEED)))
    try:
        yield
    finally:
        with torch._C.DisableTorchFunction():
            _STATES[gpu] = generator.get_state()
            generator.set_state(before)


def get_rng_state(device: Any = None) -> torch.Tensor:
    return _STATES.setdefault(index(device), _fresh(DEFAULT_SEED)).clone()


def set_rng_state(state: torch.Tensor, device: Any = None) -> None:
    _STATES[index(device)] = state.clone()


def manual_seed(seed: int) -> None:
    _STATES[torch.cuda.current_device()] = _fresh(int(seed))


def manual_seed_all(seed: int) -> None:
    for gpu in range(torch.cuda.device_count()):
        _STATES[gpu] = _fresh(int(seed))
