"""Statistics of a network's layers."""

from __future__ import annotations

import torch
from torch import nn

from bnsuite.measure.layer_statistics import LayerStatistics


def test_units_that_stopped_are_counted() -> None:
    """A ReLU unit that is zero for all samples is dead; a tanh beyond 0.99 is saturated."""
    relu = nn.Sequential(nn.Linear(1, 2), nn.ReLU())
    with torch.no_grad():
        relu[0].weight.copy_(torch.tensor([[1.0], [1.0]]))
        relu[0].bias.copy_(torch.tensor([0.0, -100.0]))
    statistics = LayerStatistics(relu)
    statistics.record(torch.linspace(-1, 1, 11)[:, None])
    assert statistics.units[0].share == [0.5]
    tanh = nn.Sequential(nn.Linear(1, 1), nn.Tanh())
    with torch.no_grad():
        tanh[0].weight.fill_(10.0)
        tanh[0].bias.zero_()
    statistics = LayerStatistics(tanh)
    statistics.record(torch.tensor([[-1.0], [0.0], [1.0], [2.0]]))
    assert statistics.units[0].share == [0.75]
