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
    """Three conv - norm - ReLU blocks and a linear head, (N, 1, H, W) -> (N, classes) logits.

    A convolution has a bias only where no norm follows, which would take it away again. `first_stride` is that of
    the first block; the others halve the image. With 1 or 3 `dimensions` it takes waveforms (N, 1, L) or volumes
    (N, 1, D, H, W). The weights may be `channels_last`: its activations have that layout then.
    """

    norm: Norm
    after: bool = False
    first_stride: int = 1
    dimensions: int = 2
    channels: tuple[int, ...] = CHANNELS
    classes: int = CLASSES
    channels_last: bool = False

    @property
    def pluggable(self) -> bool:
        return self.norm.kind == "bn"

    def build(self) -> nn.Module:
        import torch
        from torch import nn

        convolution, pool = {
            1: (nn.Conv1d, nn.AdaptiveAvgPool1d),
            2: (nn.Conv2d, nn.AdaptiveAvgPool2d),
            3: (nn.Conv3d, nn.AdaptiveAvgPool3d),
        }[self.dimensions]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(self.channels):
            stride = self.first_stride if not layers else 2
            biased = not self.norm or self.after
            layers.append(convolution(inputs, outputs, 3, stride, padding=1, bias=biased))
            block: list[nn.Module] = [nn.ReLU()]
            if self.norm:
                block.insert(1 if self.after else 0, self.norm.image(outputs, self.dimensions))
            layers += block
        last = self.channels[-1]
        layers += [pool(1), nn.Flatten(), nn.Linear(last, self.classes)]  # (N, last) -> (N, classes)
        model = nn.Sequential(*layers)
        if not self.channels_last:
            return model
        formats = {2: torch.channels_last, 3: torch.channels_last_3d}
        return model.to(memory_format=formats[self.dimensions])
