"""The networks of the trainings, with and without normalization."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def mlp(norm: str) -> nn.Module:
    """The first article's pair: SimpleMLP (`norm` "none") and MLPWithBN ("bn"), (N, 20) -> (N,) logits."""
    layers: list[nn.Module] = []
    widths = (20, 128, 64)
    for inputs, outputs in pairwise(widths):
        layers.append(nn.Linear(inputs, outputs))  # (N, inputs) -> (N, outputs)
        if norm == "bn":
            layers.append(nn.BatchNorm1d(outputs))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(widths[-1], 1), nn.Flatten(0))  # (N, 64) -> (N, 1) -> (N,)


def cnn(norm: str) -> nn.Module:
    """Three conv - norm - ReLU blocks and a linear head, (N, 1, 8, 8) -> (N, 10) logits.

    A convolution has a bias only where no norm follows, which would take it away again.
    """
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((1, 16, 1), (16, 32, 2), (32, 64, 2)):
        layers.append(nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=norm == "none"))
        if norm == "bn":
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))  # (N, 64, 2, 2) -> (N, 10)
