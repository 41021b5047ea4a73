"""The small convolutional network."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from bnsuite.cases.networks.network import Network
from bnsuite.cases.networks.norm import Norm

if TYPE_CHECKING:
    from torch import nn

CHANNELS = (1, 16, 32, 64)
CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Cnn(Network):
    """Three conv - norm - ReLU blocks and a linear head, (N, 1, H, W) -> (N, 10) logits.

    A convolution has a bias only where no norm follows, which would take it away again. `first_stride` is that of
    the first block; the others halve the image.
    """

    norm: Norm
    after: bool = False
    first_stride: int = 1

    @property
    def pluggable(self) -> bool:
        return self.norm.kind == "bn"

    def build(self) -> nn.Module:
        from torch import nn

        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(CHANNELS):
            stride = self.first_stride if not layers else 2
            biased = not self.norm or self.after
            layers.append(nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=biased))
            block: list[nn.Module] = [nn.ReLU()]
            if self.norm:
                block.insert(1 if self.after else 0, self.norm.image(outputs))
            layers += block
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS[-1], CLASSES)]  # (N, 64) -> (N, 10)
        return nn.Sequential(*layers)
