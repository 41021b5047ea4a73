"""Batch norm layers with one fault each, for ``--impl bnsuite.cases.faulty:NAME``: those a selftest injects.

Named there and nowhere else: nothing imports this module, which needs torch at once, to list or build a case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from torch import Tensor


class Sound(_BatchNorm):
    """Correct batch norm in two passes of basic operations, made of parts that a fault replaces.

    For inputs (N, C) to (N, C, D, H, W), as torch's own three layers take them together.
    """

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002  # torch's own name
        if not 2 <= input.dim() <= 5:
            raise ValueError(f"expected 2D to 5D input (got {input.dim()}D input)")

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's own name
        self._check_input_dim(input)
        if input.shape[1] != self.num_features:
            raise RuntimeError(f"expected {self.num_features} channels, got {input.shape[1]}")
        by_batch = self.training or self.running_mean is None
        count = input.numel() // max(1, input.shape[1])
        if count == 0 or (by_batch and (count == 1 or self.eps <= 0)):
            return super().forward(input)  # an empty batch, or torch's own error
        z = input.to(torch.promote_types(input.dtype, torch.float32))
        shape = [1, -1, *[1] * (input.dim() - 2)]  # (1, C, 1, ...)
        if by_batch:
            axes = [axis for axis in range(z.dim()) if axis != 1]
            mean = z.mean(axes, keepdim=True)
            var = (z - mean).square().mean(axes, keepdim=True)
        else:
            assert self.running_mean is not None
            assert self.running_var is not None
            mean, var = self.running_mean.to(z.dtype).view(shape), self.running_var.to(z.dtype).view(shape)
        y = self.normalize(z, mean, var)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        if self.updates():
            with torch.no_grad():
                self.update(z.detach())
        return y.to(input.dtype)

    def updates(self) -> bool:
        """Returns True if the running statistics move."""
        return self.training and self.track_running_stats and self.running_mean is not None

    def update(self, z: Tensor) -> None:
        """Move the running statistics towards those of `z`."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        flat = z.transpose(0, 1).flatten(1)  # (C, N·...)
        for kept, new in ((self.running_mean, flat.mean(1)), (self.running_var, self.spread(flat))):
            kept.copy_(self.moved(kept, new, share))

    def spread(self, flat: Tensor) -> Tensor:
        """Returns the variance for the running variance: the unbiased one of `flat`, (C, count) to (C,)."""
        return flat.var(1)

    def moved(self, kept: Tensor, new: Tensor, share: float) -> Tensor:
        """Running statistics with a `share` of the new batch in them."""
        return kept * (1 - share) + new * share

    def normalize(self, z: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Mean 0 and variance 1."""
        return (z - mean) * (var + self.eps).rsqrt()


class BiasedVariance(Sound):
    """The running variance is the batch's own, divided by n and not by n - 1."""

    def spread(self, flat: Tensor) -> Tensor:
        return flat.var(1, correction=0)


class InvertedMomentum(Sound):
    """Momentum is taken for the share of the old statistics, as other libraries have it."""

    def moved(self, kept: Tensor, new: Tensor, share: float) -> Tensor:
        return super().moved(kept, new, 1 - share)


class FixedEpsilon(Sound):
    """Epsilon is 1e-3, whatever was passed."""

    def normalize(self, z: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return (z - mean) * (var + 1e-3).rsqrt()


class UpdatesInEval(Sound):
    """Evaluation moves the running statistics as training does."""

    def updates(self) -> bool:
        return self.track_running_stats and self.running_mean is not None


class DetachedStatistics(Sound):
    """Mean and variance are constants in the backward pass."""

    def normalize(self, z: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return super().normalize(z, mean.detach(), var.detach())
