"""The state of a layer: its running statistics, copies of it, and comparisons of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnsuite.cases.checks.case import Subject
from bnsuite.cases.checks.material.arithmetic import layer_step

if TYPE_CHECKING:
    import torch
    from torch import nn

STATISTICS = ("running_mean", "running_var")
COUNTER = "num_batches_tracked"
BUFFERS = (*STATISTICS, COUNTER)
#: Inputs of the layers that `same_steps` compares, by their dimensions.
SHAPES: dict[int, tuple[int, ...]] = {1: (6, 5), 2: (6, 5, 3, 4), 3: (4, 5, 2, 3, 2)}


def snapshot(net: nn.Module) -> dict[str, torch.Tensor]:
    """Returns a copy of the state of `net`."""
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def buffer_snapshot(layer: nn.Module) -> dict[str, torch.Tensor]:
    """Returns a copy of the running statistics and the counter of `layer`, of those that it has."""
    found = {name: getattr(layer, name, None) for name in BUFFERS}
    return {name: value.detach().clone() for name, value in found.items() if value is not None}


def same_state(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> str:
    """Returns "same" for equal keys and values, else the names of those that differ."""
    import torch

    if list(one) != list(other):
        return "other keys"
    pairs = {name: (one[name], other[name]) for name in one}
    return "+".join(name for name, (a, b) in pairs.items() if a.dtype != b.dtype or not torch.equal(a, b)) or "same"


def same_steps(subject: Subject, one: nn.Module, other: nn.Module, dimensions: int) -> str:
    """Returns "same" if two layers agree bit by bit in evaluation and then in training, else the first difference."""
    import torch

    dtype = str(next((t.dtype for t in one.state_dict().values() if t.is_floating_point()), torch.float32))
    x, dy = (subject.randn(*SHAPES[dimensions], seed=seed, dtype=dtype.removeprefix("torch.")) for seed in (0, 1))
    for mode in (False, True):
        seen, wanted = (vars(layer_step(layer.train(mode), x, dy)) for layer in (one, other))
        for part, value in seen.items():
            if not (value is wanted[part] is None or (value is not None and torch.equal(value, wanted[part]))):
                return f"{part} differs in {'train' if mode else 'eval'}"
    return "same"
