"""Functions that take the statistics of batch norm anew, for ``bnsuite --update-bn examples/update_bn.py:update_bn``.

`update_bn` averages the statistics of batches, as torch's own does; `precise_bn` takes those of all values together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def norms(model: nn.Module) -> list[_BatchNorm]:
    """Returns the batch norms of `model` that have running statistics."""
    return [one for one in model.modules() if isinstance(one, _BatchNorm) and one.running_mean is not None]


@contextmanager
def training(model: nn.Module) -> Iterator[None]:
    """Puts `model` into training; afterwards every module has its own mode and momentum again."""
    modes = {one: one.training for one in model.modules()}
    momenta = {one: one.momentum for one in norms(model)}
    model.train()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for norm, momentum in momenta.items():
            norm.momentum = momentum


@torch.no_grad()
def update_bn(loader: Iterable[Tensor | list | tuple], model: nn.Module, device: torch.device | None = None) -> None:
    """Sets each running statistic to the average over the batches of `loader`."""
    found = norms(model)
    if not found:
        return
    with training(model):
        for norm in found:
            norm.reset_running_stats()
            norm.momentum = None  # the plain average
        for batch in loader:
            x = batch[0] if isinstance(batch, list | tuple) else batch
            model(x if device is None else x.to(device))


@torch.no_grad()
def precise_bn(loader: Iterable[Tensor | list | tuple], model: nn.Module) -> None:
    """Sets the running statistics to the mean and variance of all values that a layer sees, by adding up moments."""
    found: dict[nn.Module, tuple[int, Tensor, Tensor]] = {}

    def add(norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        rows = given[0].transpose(0, 1).flatten(1).double()  # (C, values)
        old_n, old_mean, old_squares = found.get(norm, (0, rows.new_zeros(len(rows)), rows.new_zeros(len(rows))))
        n, apart = old_n + rows.shape[1], rows.mean(1) - old_mean
        squares = rows.var(1, correction=0) * rows.shape[1] + apart.square() * old_n * rows.shape[1] / n
        found[norm] = (n, old_mean + apart * rows.shape[1] / n, old_squares + squares)

    hooks = [norm.register_forward_pre_hook(add) for norm in norms(model)]
    try:
        update_bn(loader, model)
    finally:
        for hook in hooks:
            hook.remove()
    for norm, (n, mean, squares) in found.items():
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(squares / n)


#: Tells bnsuite which statistics are right: those of all values, and not averages over the batches.
precise_bn.statistics = "population"
