"""torchvision's networks in pairs, with batch norm and without or with group norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bnsuite.cases.networks.network import Network

if TYPE_CHECKING:
    from torch import nn

GROUPS = 32


@dataclass(frozen=True, kw_only=True)
class Vision(Network):
    """``torchvision.models.<name>`` with `classes` outputs, (N, 3, H, W) -> (N, classes); a ResNet may have "gn"."""

    name: str
    group_norm: bool = False
    classes: int = 10

    packages: ClassVar[tuple[str, ...]] = ("torchvision",)

    def build(self) -> nn.Module:
        from torch import nn
        from torchvision import models

        more = {"norm_layer": lambda channels: nn.GroupNorm(GROUPS, channels)} if self.group_norm else {}
        model: nn.Module = getattr(models, self.name)(num_classes=self.classes, **more)
        return model
