"""Models, and the data that a pass takes their statistics from, of the family ``update-bn``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import Subject
from bnsuite.cases.checks.material.arithmetic import randomize_state

if TYPE_CHECKING:
    import torch
    from torch import nn

#: Dimensions of the input beyond (N, C); without any it is (N, C).
SPATIAL: dict[str, tuple[int, ...]] = {"nc": (), "1d": (5,), "2d": (5, 4), "3d": (3, 2, 3)}
#: The samples of each batch.
SIZES = {"equal": (6, 6, 6, 6), "unequal": (9, 3, 6, 2), "one-batch": (7,), "many": (4,) * 24}
CHANNELS = 3
#: How a pass ends that raises nothing.
DONE = "done"


@dataclass(frozen=True)
class Setup:
    """A model, the data that a pass takes its statistics from, and how it is called."""

    net: nn.Module
    batches: Sequence[torch.Tensor]
    #: The loader of the batches; None for a list of them.
    loader: Iterable[Any] | None = None
    #: Further arguments of the pass.
    more: dict[str, Any] = field(default_factory=dict)
    #: A layer that is not in training, which a pass may leave out.
    frozen: str = ""
    #: How the pass is to end.
    outcome: str = DONE
    passes: int = 1
    #: Whether gradients are recorded around the pass.
    gradients: bool = True


Make = Callable[[Subject], Setup]


def _norm(dimensions: int) -> Any:
    from torch import nn

    return (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dimensions]


def _net(subject: Subject, spatial: str = "2d", *, convolutions: bool = True) -> Any:
    """Returns three batch norms, with convolutions between them or without; the second sees what the first makes.

    Dropout comes last: no statistics depend on its mode.
    """
    import torch
    from torch import nn

    torch.manual_seed(0)
    dimensions = len(SPATIAL[spatial])
    conv: Any = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions]
    kernel: dict[str, Any] = {"kernel_size": 3, "padding": 1} if dimensions else {}
    net = nn.Sequential()
    for number, momentum in enumerate((0.1, 0.3, None)):
        if number and convolutions:
            net.add_module(f"conv{number}", conv(CHANNELS, CHANNELS, **kernel))
        made = _norm(dimensions)(CHANNELS, momentum=momentum, eps=1e-3, affine=number != 1)
        layer: Any = randomize_state(made, seed=number)
        layer.num_batches_tracked.fill_(5)
        net.add_module(f"norm{number}", layer)
        net.add_module(f"relu{number}", nn.ReLU())
    net.add_module("dropout", nn.Dropout(0.5))
    net.register_buffer("other", torch.arange(3.0))
    return net.to(subject.device)


def _batches(
    subject: Subject, spatial: str = "2d", sizes: str = "unequal", *, mean: float = 0.0, dtype: str = "float32"
) -> list[torch.Tensor]:
    """Returns batches that differ in mean and spread, so that statistics of all values are others than averages."""
    return [
        subject.randn(n, CHANNELS, *SPATIAL[spatial], seed=seed, mean=mean + seed % 4, std=1.0 + seed % 3, dtype=dtype)
        for seed, n in enumerate(SIZES[sizes])
    ]


def usual(
    subject: Subject, *, spatial: str = "2d", sizes: str = "unequal", training: bool = True, mean: float = 0.0
) -> Setup:
    return Setup(_net(subject, spatial).train(training), _batches(subject, spatial, sizes, mean=mean))


def one_mode(subject: Subject, *, name: str, training: bool) -> Setup:
    """A module whose mode is not that of the others: a layer that is frozen, or dropout."""
    net = _net(subject).train(training)
    net.get_submodule(name).train(not training)
    return Setup(net, _batches(subject), frozen=name if training and name.startswith("norm") else "")


def one_dtype(subject: Subject, *, dtype: str, mixed: bool = False) -> Setup:
    """All in one precision; if `mixed`, the parameters and statistics in float32."""
    import torch

    net = _net(subject, convolutions=False)
    return Setup(net if mixed else net.to(getattr(torch, dtype)), _batches(subject, dtype=dtype))


def by_loader(subject: Subject, *, kind: str) -> Setup:
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    setup = usual(subject)
    batches, target = setup.batches, torch.zeros(1, device=subject.device)
    if kind == "data-loader":
        whole = torch.cat(list(batches))
        loader = DataLoader(TensorDataset(whole, whole[:, 0]), batch_size=6)
        return replace(setup, batches=whole.split(6), loader=loader)
    if kind == "device":
        return replace(setup, loader=[x.cpu() for x in batches], more={"device": torch.device(subject.device)})
    kinds: dict[str, Iterable[Any]] = {
        "tensors": batches,
        "tuples": [(x, target) for x in batches],
        "lists": [[x, target] for x in batches],
        "generator": ((x, target) for x in batches),
    }
    return replace(setup, loader=kinds[kind])


def averaged(subject: Subject) -> Setup:
    """The average of two models: statistics are those of its own weights."""
    from torch.optim import swa_utils

    decay: Any = swa_utils.get_ema_multi_avg_fn
    net, other = _net(subject), _net(subject)
    for one in other.parameters():
        one.data.mul_(-0.5)
    average = swa_utils.AveragedModel(net, multi_avg_fn=decay(0.5))
    for one in (net, other):
        average.update_parameters(one)
    return Setup(average, _batches(subject))


def with_layer(subject: Subject, *, kind: str) -> Setup:
    """A model with another layer before the usual ones, or of another kind."""
    from torch import nn

    net = _net(subject)
    if kind == "sync-batch-norm":
        return Setup(nn.SyncBatchNorm.convert_sync_batchnorm(net), _batches(subject))
    if kind == "frozen-parameters":
        return Setup(net.requires_grad_(requires_grad=False), _batches(subject))
    made: dict[str, Callable[[], nn.Module]] = {
        "untracked": lambda: nn.BatchNorm2d(CHANNELS, momentum=0.2, track_running_stats=False),
        "momentum=0": lambda: randomize_state(nn.BatchNorm2d(CHANNELS, momentum=0.0)),
        "other-norms": lambda: nn.Sequential(nn.GroupNorm(3, CHANNELS), nn.InstanceNorm2d(CHANNELS, affine=True)),
        "instance-norm": lambda: nn.InstanceNorm2d(CHANNELS, track_running_stats=True),
    }
    return Setup(nn.Sequential(made[kind](), net).to(subject.device), _batches(subject))


def ending(subject: Subject, *, kind: str) -> Setup:
    from torch import nn

    setup = usual(subject, training=False)

    def raises() -> Iterator[torch.Tensor]:
        yield from setup.batches[:2]
        raise KeyError(kind)

    if kind == "exception":
        return replace(setup, loader=raises(), outcome="KeyError")
    if kind == "no-data":
        return replace(setup, batches=())
    net = nn.Sequential(nn.Conv2d(CHANNELS, 4, 1), nn.GroupNorm(2, 4), nn.Dropout(0.5)).to(subject.device).eval()
    return replace(setup, net=net, loader=iter(setup.batches))
