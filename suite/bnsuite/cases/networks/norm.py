"""The normalization layers that stand in a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnsuite.cases.implementation import batch_norm

if TYPE_CHECKING:
    from torch import nn

#: Channels per group of the group norms; Wu & He 2018 found 16 as good as 32 groups, and these nets are narrow.
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
        """The layer for activations (N, width): "bn" or "ln"; KeyError for another kind."""
        from torch import nn

        kinds: dict[str, Callable[[], nn.Module]] = {
            "bn": lambda: batch_norm(1, width, **self._batch_norm()),
            "ln": lambda: nn.LayerNorm(width),
        }
        return kinds[self.kind]()

    def image(self, channels: int, dimensions: int = 2) -> nn.Module:
        """The layer for activations (N, channels, ...) of 1 to 3 `dimensions` more; KeyError for another kind."""
        from torch import nn

        instance = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dimensions]
        kinds: dict[str, Callable[[], nn.Module]] = {
            "bn": lambda: batch_norm(dimensions, channels, **self._batch_norm()),
            "in": lambda: instance(channels, affine=True),
            "ln": lambda: nn.GroupNorm(1, channels),
            "gn": lambda: nn.GroupNorm(channels // GROUP_CHANNELS, channels),
        }
        return kinds[self.kind]()

    def _batch_norm(self) -> dict[str, Any]:
        return {
            "eps": self.eps,
            "momentum": self.momentum,
            "affine": self.affine,
            "track_running_stats": self.track_running_stats,
        }
