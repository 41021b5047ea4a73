"""The optimizers of the trainings: frozen values, and torch optimizers once they are built."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Adam:
    """Adam with torch's defaults."""

    lr: float = 1e-3

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of `parameters`."""
        import torch

        return torch.optim.Adam(parameters, lr=self.lr, fused=True)


@dataclass(frozen=True)
class KerasAdam:
    """Adam as Keras has it: epsilon is 1e-7 and stands beside the second moment before its bias is corrected.

    In torch's terms that is 1e-7 / sqrt(1 - 0.999 ** step): thirty times as much in the first step.
    """

    lr: float = 1e-3
    epsilon: float = 1e-7

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of `parameters`."""
        import torch

        adam = torch.optim.Adam(parameters, lr=self.lr, fused=True)
        _, beta_2 = adam.defaults["betas"]
        steps = 0

        def set_epsilon(*_: object) -> None:
            nonlocal steps
            steps += 1
            for group in adam.param_groups:
                group["eps"] = self.epsilon / math.sqrt(1 - beta_2**steps)

        adam.register_step_pre_hook(set_epsilon)
        return adam


@dataclass(frozen=True)
class Sgd:
    """Stochastic gradient descent."""

    lr: float
    momentum: float = 0.0

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of `parameters`."""
        import torch

        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, fused=True)


Optimizer: TypeAlias = Adam | KerasAdam | Sgd
