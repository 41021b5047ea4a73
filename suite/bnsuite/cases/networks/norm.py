"""The normalization layers that stand in a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

#: Channels a group of the group norms; Wu & He 2018 found 16 a group as good as 32 groups, and these nets are narrow.
GROUP_CHANNELS = 8


@dataclass(frozen=True, kw_only=True)
class Norm:
    """A kind of normalization: "none", "bn", "ln", "gn" or "in", and batch norm's own parameters.

    `momentum` None is the cumulative average. On images "ln" normalizes over (C, H, W) with an affine a channel, as
    GroupNorm with one group does.
    """

    kind: str
    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: bool = True
    track_running_stats: bool = True

    def __bool__(self) -> bool:
        return self.kind != "none"

    def vector(self, width: int) -> nn.Module:
        """The layer for activations (N, width)."""
        from torch import nn

        if self.kind == "ln":
            return nn.LayerNorm(width)
        return nn.BatchNorm1d(width, self.eps, self.momentum, self.affine, self.track_running_stats)

    def image(self, channels: int) -> nn.Module:
        """The layer for activations (N, channels, H, W)."""
        from torch import nn

        if self.kind == "bn":
            return nn.BatchNorm2d(channels, self.eps, self.momentum, self.affine, self.track_running_stats)
        if self.kind == "in":
            return nn.InstanceNorm2d(channels, affine=True)
        return nn.GroupNorm(channels // GROUP_CHANNELS if self.kind == "gn" else 1, channels)
