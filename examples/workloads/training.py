"""A training on points of two rings: model, data, loss and optimizer under these names, made anew in each call.

bnsuite --device cpu --workload examples/workloads/training.py
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SAMPLES, BATCH, WIDTH = 512, 32, 32


def rings(samples: int, seed: int) -> TensorDataset:
    """Points of the plane on two rings: class 0 on the inner one, class 1 on the outer one."""
    chance = torch.Generator().manual_seed(seed)
    classes = torch.randint(2, (samples,), generator=chance)
    angles = 2 * torch.pi * torch.rand(samples, generator=chance)
    radii = 1 + classes + 0.15 * torch.randn(samples, generator=chance)
    return TensorDataset(torch.stack([radii * angles.cos(), radii * angles.sin()], 1), classes)


def training() -> dict[str, object]:
    layers = [nn.Linear(2, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2)]
    model = nn.Sequential(*layers)
    return {
        "model": model,
        "data": DataLoader(rings(SAMPLES, seed=1), BATCH, shuffle=True),
        "validation": DataLoader(rings(SAMPLES, seed=2), SAMPLES),
        "loss": nn.CrossEntropyLoss(),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        "epochs": 6,
        "target": 0.2,
    }
