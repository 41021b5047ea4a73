"""What every rank of a distributed case builds and runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnsuite.cases.networks.cnn import Cnn
from bnsuite.cases.networks.network import Network
from bnsuite.cases.networks.norm import Norm
from bnsuite.cases.networks.vision import Vision
from bnsuite.cases.train.optimizers import Sgd

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bnsuite.cases.case import Step

#: Examples of each rank's batch, (C, H, W) of one, and classes, by network.
BATCHES = {"cnn": (32, (1, 28, 28), 10), "resnet18": (64, (3, 224, 224), 1000)}

RATE = 0.01


@dataclass(frozen=True)
class Rank:
    """One rank of `world`, the device that it computes on, and the seed of all ranks."""

    number: int
    world: int
    device: str
    seed: int


def build(program: str, subject: str, rank: Rank) -> Step:
    """Returns the step of one rank, without the all-reduce that closes it; all ranks call this at once."""
    import torch

    torch.manual_seed(rank.seed)  # every rank begins with the same weights
    if program == "plain" or program.startswith("ddp"):
        return _training(program.partition("+")[2], subject, rank)
    return _layer(program, [int(size) for size in subject.split("x")], rank)


def network(subject: str, layer: str) -> nn.Module:
    """Returns the network `subject` on the CPU, its batch norms replaced by `layer` if that is named."""
    plain: Network = Vision(name="resnet18", classes=1000) if subject == "resnet18" else Cnn(norm=Norm(kind="bn"))
    made: nn.Module = CONVERTERS[layer](plain.build())
    return made


def batch(subject: str, rank: Rank) -> tuple[Tensor, Tensor]:
    """Returns the images and labels of one rank, which no other rank has."""
    import torch

    count, shape, classes = BATCHES[subject]
    generator = torch.Generator().manual_seed(1000 * rank.seed + rank.number)
    images = torch.randn(count, *shape, generator=generator)
    return images, torch.randint(classes, (count,), generator=generator)


def _training(layer: str, subject: str, rank: Rank) -> Step:
    from torch.nn.functional import cross_entropy
    from torch.nn.parallel import DistributedDataParallel

    net: nn.Module = network(subject, layer).to(rank.device)
    trained = DistributedDataParallel(net) if rank.world > 1 else net
    optimizer = Sgd(lr=RATE).build(net.parameters())
    images, labels = (one.to(rank.device) for one in batch(subject, rank))

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(trained(images), labels).backward()
        optimizer.step()

    return step


def _layer(program: str, shape: list[int], rank: Rank) -> Step:
    import torch
    from torch import nn

    layer: nn.Module = CONVERTERS[program](nn.BatchNorm2d(shape[1])).to(rank.device)
    generator = torch.Generator().manual_seed(1000 * rank.seed + rank.number)
    x, dy = (torch.randn(shape, generator=generator).to(rank.device) for _ in range(2))
    wanted = [x.requires_grad_(), *layer.parameters()]

    def step() -> None:
        torch.autograd.grad(layer(x), wanted, dy)

    return step


def _as_it_is(net: nn.Module) -> nn.Module:
    return net


def _torchs(net: nn.Module) -> nn.Module:
    from torch import nn

    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    return converted


def _composed(net: nn.Module) -> nn.Module:
    from bnsuite.cases.distributed.synchronised import converted

    return converted(net)


#: What replaces batch norm in a network, by the word for it in a program.
CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "": _as_it_is,
    "sync-batch-norm": _torchs,
    "sync-composition": _composed,
}
