"""A Keras model on the torch backend, in KernelBench's form: there it is an `nn.Module`.

bnsuite --device cpu --workload examples/workloads/keras_mlp.py
"""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import torch
from torch import nn

BATCH, WIDTH, CLASSES = 64, 784, 10


class Model(nn.Module):
    """Dense layers with batch normalization; torch's mode decides if it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.network = keras.Sequential(
            [
                keras.layers.Input((WIDTH,)),
                keras.layers.Dense(128),
                keras.layers.BatchNormalization(),
                keras.layers.ReLU(),
                keras.layers.Dense(CLASSES),
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x, training=self.training)


def get_inputs() -> list[torch.Tensor]:
    return [torch.rand(BATCH, WIDTH)]
