"""Chains of layers under torch.compile: a norm, an activation, a change of shape, and the next norm.

Compilers fuse over such a chain, and a fused kernel may take one shape for another. A chain amplifies rounding errors;
eager mode has these as well, and errors are counted in those of eager mode against float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.behaviour.compile.backends import INDUCTOR, PARTS
from bnsuite.cases.checks.behaviour.compile.networks import CompileOptions, together
from bnsuite.cases.checks.case import BehaviourCase, Subject
from bnsuite.cases.checks.material.arithmetic import randomize_state

if TYPE_CHECKING:
    import torch
    from torch import nn

SHAPE = SAMPLES, CHANNELS, HEIGHT, WIDTH = (6, 7, 2, 5)
Layers = Callable[[Any, Subject], "list[nn.Module]"]


@dataclass(frozen=True)
class Chain:
    """A chain of layers on an input of `SHAPE`, as a member of the nets that are compiled together."""

    layers: Layers
    training: bool
    channels_last: bool = False

    def made(self, subject: Subject) -> nn.Module:
        import torch

        torch.manual_seed(0)
        net = torch.nn.Sequential(*self.layers(torch.nn, subject)).to(subject.device)
        for one in net:
            if "Norm" in type(one).__name__ or hasattr(one, "running_mean"):
                randomize_state(one)
        return net.train(self.training)

    def input(self, subject: Subject, seed: int, count: int | None = None) -> torch.Tensor:
        import torch

        x = subject.randn(count or SAMPLES, *SHAPE[1:], seed=seed)
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x


#: The layers of each chain, made with `torch.nn`.
CHAINS: dict[str, Layers] = {
    # pytorch/pytorch#181266
    "instance+flatten+1d": lambda nn, s: [
        nn.InstanceNorm2d(CHANNELS),
        nn.ReLU(),
        nn.Flatten(),
        s.batch_norm(1, CHANNELS * HEIGHT * WIDTH),
    ],
    "2d+elu+flatten+linear+1d": lambda nn, s: [
        s.batch_norm(2, CHANNELS),
        nn.ELU(),
        nn.Flatten(),
        nn.Linear(CHANNELS * HEIGHT * WIDTH, 9),
        s.batch_norm(1, 9),
    ],
    # pytorch/pytorch#181696
    "2d+elu+group": lambda nn, s: [s.batch_norm(2, CHANNELS), nn.ELU(), nn.GroupNorm(CHANNELS, CHANNELS)],
    "conv+2d+pool+2d+conv": lambda nn, s: [
        nn.Conv2d(CHANNELS, 8, 3, padding=1),
        s.batch_norm(2, 8),
        nn.SiLU(),
        nn.AvgPool2d((1, 2)),
        s.batch_norm(2, 8),
        nn.Conv2d(8, 4, 1),
    ],
    "2d+reshape+1d+layer": lambda nn, s: [
        s.batch_norm(2, CHANNELS),
        nn.GELU(),
        nn.Flatten(2),
        s.batch_norm(1, CHANNELS),
        nn.LayerNorm(HEIGHT * WIDTH),
    ],
    "2d+max-pool+flatten+1d": lambda nn, s: [
        s.batch_norm(2, CHANNELS),
        nn.Hardswish(),
        nn.MaxPool2d((2, 1)),
        nn.Flatten(),
        s.batch_norm(1, CHANNELS * WIDTH),
    ],
}
#: Those that are trained in machine code: compiling a backward pass takes seconds. There the others only evaluate.
FEW = ("instance+flatten+1d", "2d+elu+flatten+linear+1d")
#: The one whose input is channels-last as well; evaluated in machine code, it is so alone.
CONVOLUTIONS = "conv+2d+pool+2d+conv"


def cases() -> Iterator[BehaviourCase]:
    for backend, training in product((PARTS, INDUCTOR), (True, False)):
        whole = backend == PARTS
        names = CHAINS if whole else FEW if training else CHAINS.keys() - {CONVOLUTIONS}
        members = {name: Chain(CHAINS[name], training) for name in CHAINS if name in names}
        if whole or not training:
            members["conv, channels-last"] = Chain(CHAINS[CONVOLUTIONS], training, channels_last=True)
        how = CompileOptions(backend, counts=(None, None), grad=whole or training)
        yield BehaviourCase(
            group="compile",
            name=f"{backend}/chains/{'train' if training else 'eval'}",
            observe=partial(together, members=members, how=how),
            rule="a chain of layers that is compiled computes what eager mode does, to rounding",
            rows=("C01", "C02"),
            limit_s=300.0,
            version=1 if whole else 2,
        )
