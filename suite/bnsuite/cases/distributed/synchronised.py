"""Batch norm over all ranks, made of basic operations and all-reduces: it runs wherever a process group does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _SumOverRanks(torch.autograd.Function):
    """The sum of every rank's tensor; the gradient of each is the sum of every rank's gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004  # nothing is saved
        return _sum(x)

    @staticmethod
    def backward(ctx: Any, *dy: Tensor) -> Tensor:  # noqa: ARG004
        return _sum(dy[0])


def _sum(x: Tensor) -> Tensor:
    total = x.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total


class SynchronisedBatchNorm(_BatchNorm):
    """Batch norm in training whose statistics are those of the inputs of all ranks, (N, C, ...) each.

    The mean is taken first and the variance about it, so that two all-reduces are made in the forward pass, and two in
    the backward pass. In evaluation, or without a process group of several, it is torch's batch norm.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"expected an input of at least 2 dimensions (got {x.dim()})")

    def forward(self, x: Tensor) -> Tensor:
        """Returns the normalized input, of the same shape and dtype."""
        several = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
        if not (several and self.training):
            return super().forward(x)
        self._check_input_dim(x)
        shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
        mean, var, count = self.statistics(x.to(torch.promote_types(x.dtype, torch.float32)))
        if self.track_running_stats:
            self._track(mean.detach(), var.detach(), count.detach())
        y = (x - mean.view(shape)) * (var + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)

    def statistics(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns mean and variance (C,) of all ranks' inputs, and the number of values per channel."""
        axes = [axis for axis in range(z.dim()) if axis != 1]
        here = z.new_full((1,), z.numel() // z.shape[1])
        total = _SumOverRanks.apply(torch.cat([z.sum(axes), here]))
        count = total[-1:]
        mean = total[:-1] / count
        apart = z - mean.view([-1 if axis == 1 else 1 for axis in range(z.dim())])
        return mean, _SumOverRanks.apply(apart.square().sum(axes)) / count, count

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor, count: Tensor) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_((var * count / (count - 1)).to(self.running_var.dtype), share)


def converted(module: nn.Module) -> nn.Module:
    """Returns `module` with every batch norm replaced by one over all ranks that has its parameters and buffers."""
    if isinstance(module, _BatchNorm):
        made = SynchronisedBatchNorm(
            module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats
        )
        made.load_state_dict(module.state_dict())
        return made.train(module.training)
    for name, child in module.named_children():
        setattr(module, name, converted(child))
    return module
