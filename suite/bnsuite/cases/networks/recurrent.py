"""LSTMs over the rows of an image: plain, with layer norm in the cell, with batch norm a time step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnsuite.cases.implementation import batch_norm
from bnsuite.cases.networks.network import Network

if TYPE_CHECKING:
    from torch import nn

CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Lstm(Network):
    """(N, 1, T, F) -> (N, 10): an LSTM cell over T rows of F features, and a linear layer on its last state.

    `norm` "ln" normalizes the two projections and the cell state as Ba et al. 2016 (arXiv 1607.06450) do; "bn" does
    so with statistics of their own for every time step, as Cooijmans et al. 2016 (arXiv 1603.09025) do. In both,
    gains start at 0.1 on batch norm, their advice, and at 1 on layer norm.
    """

    steps: int
    features: int
    hidden: int
    norm: str

    @property
    def pluggable(self) -> bool:
        return self.norm == "bn"

    def build(self) -> nn.Module:
        import torch
        from torch import nn

        hidden, steps = self.hidden, self.steps

        def norms(width: int) -> nn.ModuleList:
            """One layer a time step for batch norm, one for all of them for layer norm."""
            if self.norm == "bn":
                made = [batch_norm(1, width) for _ in range(steps)]
                for layer in made:
                    nn.init.constant_(layer.get_parameter("weight"), 0.1)
                return nn.ModuleList(made)
            return nn.ModuleList([nn.LayerNorm(width) if self.norm == "ln" else nn.Identity()])

        class RowLstm(nn.Module):
            def __init__(self, features: int) -> None:
                super().__init__()
                self.input = nn.Linear(features, 4 * hidden)
                self.state = nn.Linear(hidden, 4 * hidden, bias=False)
                self.norm_input, self.norm_state, self.norm_cell = norms(4 * hidden), norms(4 * hidden), norms(hidden)
                self.head = nn.Linear(hidden, CLASSES)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                rows = x.squeeze(1).unbind(1)  # T times (N, F)
                h = x.new_zeros(len(x), hidden)
                c = x.new_zeros(len(x), hidden)
                for step, row in enumerate(rows):
                    at = step % len(self.norm_input)
                    gates = self.norm_input[at](self.input(row)) + self.norm_state[at](self.state(h))  # (N, 4 hidden)
                    i, f, g, o = gates.chunk(4, 1)
                    c = torch.sigmoid(f + 1.0) * c + torch.sigmoid(i) * torch.tanh(g)
                    h = torch.sigmoid(o) * torch.tanh(self.norm_cell[at](c))  # (N, hidden)
                logits: torch.Tensor = self.head(h)
                return logits

        return RowLstm(self.features)
