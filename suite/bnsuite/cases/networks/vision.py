"""torchvision's networks in pairs, with batch norm and without or with group norm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from bnsuite.cases.implementation import batch_norm
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

    @property
    def pluggable(self) -> bool:
        return self._has_norm_layer and not self.group_norm

    @property
    def _has_norm_layer(self) -> bool:
        return self.name.startswith("resnet")

    def build(self) -> nn.Module:
        from torch import nn
        from torchvision import models

        norm: Callable[[int], nn.Module] = partial(nn.GroupNorm, GROUPS) if self.group_norm else partial(batch_norm, 2)
        more = {"norm_layer": norm} if self._has_norm_layer else {}
        model: nn.Module = getattr(models, self.name)(num_classes=self.classes, **more)
        return model
