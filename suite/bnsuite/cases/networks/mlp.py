"""The multilayer perceptrons of the articles."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from bnsuite.cases.networks.network import Network
from bnsuite.cases.networks.norm import Norm

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Init:
    """Initial weights other than torch's own: N(0, `std`) and a constant `bias`, or torch's times `scale`."""

    std: float | None = None
    bias: float | None = None
    scale: float = 1.0

    def apply(self, model: nn.Module) -> None:
        """Set the linear layers of `model`."""
        from torch import nn

        for layer in model.modules():
            if not isinstance(layer, nn.Linear):
                continue
            if self.std is not None:
                nn.init.normal_(layer.weight, 0.0, self.std)
            layer.weight.data.mul_(self.scale)
            if self.bias is not None:
                nn.init.constant_(layer.bias, self.bias)


@dataclass(frozen=True, kw_only=True)
class Mlp(Network):
    """Linear layers with a norm and an activation after each hidden one.

    `widths` is (inputs, hidden ..., outputs); one output of a classifier is given as (N,) logits. The norm stands
    before the activation or `after` it. With `bias` false a linear layer before a norm has none, which the norm
    would take away again.
    """

    widths: tuple[int, ...]
    norm: Norm
    images: bool = True
    activation: str = "relu"
    #: Hidden layers that have an activation; None for all.
    activated: int | None = None
    after: bool = False
    dropout: float = 0.0
    bias: bool = True
    norm_input: bool = False
    init: Init | None = None
    #: The only output is the logit of two classes.
    binary: bool = False

    @property
    def pluggable(self) -> bool:
        return self.norm.kind == "bn"

    def build(self) -> nn.Module:
        from torch import nn

        activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[self.activation]
        hidden = self.widths[:-1]
        activated = len(hidden) if self.activated is None else self.activated
        layers: list[nn.Module] = [nn.Flatten()] if self.images else []  # (N, 1, H, W) -> (N, inputs)
        if self.norm_input and self.norm:
            layers.append(self.norm.vector(self.widths[0]))
        for place, (inputs, outputs) in enumerate(pairwise(hidden)):
            layers.append(nn.Linear(inputs, outputs, bias=self.bias or not self.norm))  # (N, inputs) -> (N, outputs)
            block = [activation()] if place < activated else []
            if self.norm:
                block.insert(len(block) if self.after else 0, self.norm.vector(outputs))
            layers += block
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
        layers.append(nn.Linear(hidden[-1], self.widths[-1]))  # (N, outputs)
        if self.binary:
            layers.append(nn.Flatten(0))  # (N, 1) -> (N,)
        model = nn.Sequential(*layers)
        if self.init:
            self.init.apply(model)
        return model
