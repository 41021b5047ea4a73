"""The base of every network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Network(ABC):
    """A network with everything fixed but its initial weights, which are drawn when it is built."""

    #: Packages beyond torch without which it can't be built.
    packages: ClassVar[tuple[str, ...]] = ()

    @property
    def pluggable(self) -> bool:
        """True if it has batch norm layers that an implementation can replace."""
        return False

    @abstractmethod
    def build(self) -> nn.Module:
        """Returns the module, its weights drawn from torch's global CPU generator."""
