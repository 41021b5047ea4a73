"""Builders of a layer's step: everything is allocated outside, and the step only launches work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bnsuite.cases import implementation
from bnsuite.cases.execution import Execution
from bnsuite.cases.op.case import DTYPES

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bnsuite.cases.case import Step
    from bnsuite.cases.op.case import LayerCase

#: Groups of ``group_norm``: the default of Wu & He (2018).
GROUPS = 32


def _composition(channels: int) -> nn.Module:
    """Batch norm in training made of basic operations, as a user would write it: statistics, then one product."""
    import torch
    from torch import nn

    class Composition(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            axes = [axis for axis in range(x.dim()) if axis != 1]
            shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
            var, mean = torch.var_mean(x, axes, correction=0)  # (C,)
            scale = self.weight * (var + 1e-5).rsqrt()
            return torch.addcmul((self.bias - mean * scale).view(shape), x, scale.view(shape))

    return Composition()


def _block(case: LayerCase) -> nn.Module:
    """Returns a convolution of the case's dtype that keeps its shape, torch's own batch norm and a ReLU."""
    import torch
    from torch import nn

    channels, dtype = case.shape[1], getattr(torch, DTYPES[case.dtype][1])
    convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False, dtype=dtype)
    return nn.Sequential(convolution, implementation.torchs_own(2, channels), nn.ReLU())


def _layer(case: LayerCase) -> nn.Module:
    from torch import nn

    shape, channels = case.shape, case.shape[1]
    options = {"affine": case.affine, "track_running_stats": case.track}
    batch_norm = implementation.torchs_own if case.torch_only else implementation.batch_norm
    instance_norms = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}
    kinds: dict[str, Callable[[], nn.Module]] = {
        "batch_norm1d": lambda: batch_norm(1, channels, **options),
        "batch_norm2d": lambda: batch_norm(2, channels, **options),
        "batch_norm3d": lambda: batch_norm(3, channels, **options),
        "composition": lambda: _composition(channels),
        "conv_batch_norm2d": lambda: _block(case),
        "layer_norm": lambda: nn.LayerNorm(shape[1:]),
        "group_norm": lambda: nn.GroupNorm(GROUPS, channels),
        "instance_norm": lambda: instance_norms[len(shape)](channels, affine=case.affine),
    }
    return kinds[case.layer]()


def build(case: LayerCase, device: str, seed: int) -> Step:
    """The step of `case`, all its tensors on `device`; cuDNN, caches and graphs are the measuring side's to set."""
    import torch

    forward = case.phase.startswith("fwd") and case.phase != "fwd+bwd"
    layer = _layer(case).to(device).train("eval" not in case.phase)
    x, *gradient = case.activations(device, seed, 1 if forward else 2)
    x = x.mul_(2.0).add_(0.5)  # neither centred nor of unit variance
    called: Callable[[torch.Tensor], torch.Tensor] = layer
    if case.execution is Execution.COMPILED:
        torch.compiler.reset()  # else a second shape in one process is compiled for any shape
        called = torch.compile(layer)
    if forward:
        return _forward(called, x)
    wanted = [x.requires_grad_(), *layer.parameters()]
    (dy,) = gradient
    return _both(called, x, wanted, dy) if case.phase == "fwd+bwd" else _backward(called, x, wanted, dy)


def _forward(layer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Step:
    import torch

    def forward() -> None:
        with torch.no_grad():
            layer(x)

    return forward


def _both(
    layer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, wanted: list[torch.Tensor], dy: torch.Tensor
) -> Step:
    import torch

    def forward_backward() -> None:
        torch.autograd.grad(layer(x), wanted, dy)

    return forward_backward


def _backward(
    layer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, wanted: list[torch.Tensor], dy: torch.Tensor
) -> Step:
    """The backward pass alone, again and again through the graph of one forward pass."""
    import torch

    y = layer(x)

    def backward() -> None:
        torch.autograd.grad(y, wanted, dy, retain_graph=True)

    return backward
