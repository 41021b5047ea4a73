"""ResNet-18 of torchvision on small images, in KernelBench's form.

bnsuite --device cpu --workload examples/workloads/resnet18.py
"""

import torch
from torch import nn
from torchvision.models import resnet18


class Model(nn.Module):
    """The network as torchvision has it, with ten classes."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.network = resnet18(weights=None, num_classes=classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images)


def get_inputs() -> list[torch.Tensor]:
    return [torch.rand(4, 3, 32, 32)]


def get_init_inputs() -> list[int]:
    return [10]
