"""A function that folds batch norm into the module before it: judge it by ``bnsuite --fold examples/fold.py:fold``."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd


def fold(module: nn.Module, norm: nn.Module) -> nn.Module:
    """Returns one module for a (transposed) convolution or linear layer and the batch norm after it."""
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale if norm.bias is None else norm.bias - norm.running_mean * scale
    folded = copy.deepcopy(module)
    weight = module.weight
    if isinstance(module, _ConvTransposeNd):  # (in, out / groups, ...), in which the groups lie one after the other
        by_group = weight.unflatten(0, (module.groups, -1))
        factors = scale.view(module.groups, 1, -1, *[1] * (weight.dim() - 2))
        made = (by_group * factors).flatten(0, 1)
    else:
        made = weight * scale.view(-1, *[1] * (weight.dim() - 1))
    outputs = module.out_features if isinstance(module, nn.Linear) else module.out_channels
    bias = shift if module.bias is None else shift + module.bias * scale
    folded.weight = nn.Parameter(made.detach())
    folded.bias = nn.Parameter(torch.as_tensor(bias.detach()).expand(outputs).clone())
    return folded
