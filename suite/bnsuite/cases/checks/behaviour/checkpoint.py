"""Family ``checkpoint``: activation checkpointing, which computes a layer's output a second time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases import precision
from bnsuite.cases.checks.case import BehaviourCase, Observation, Subject
from bnsuite.cases.checks.material.arithmetic import LIMIT, error_ratio, randomize_state
from bnsuite.cases.checks.material.states import STATISTICS

if TYPE_CHECKING:
    import torch
    from torch import nn

SHAPES: dict[int, tuple[int, ...]] = {1: (8, 5, 6), 2: (6, 5, 4, 6), 3: (4, 5, 2, 3, 4)}
CHANNELS = 5
#: The most updates by one step that are distinguished.
MAX_UPDATES = 3
#: Variants of checkpointing; the reentrant one needs an input that has a gradient.
VARIANTS = ("reentrant", "not-reentrant", "no-early-stop", "sequential", "nested")


@dataclass(frozen=True)
class Net:
    """The layers that are checkpointed, and their mode."""

    kind: str
    dimensions: int
    training: bool = True
    momentum: float | None = 0.1
    tracked: bool = True


class CheckpointedNet:
    """A net of modules in a row, with one batch norm layer."""

    def __init__(self, subject: Subject, net: Net) -> None:
        import torch
        from torch import nn

        self.dimensions = net.dimensions
        torch.manual_seed(0)
        conv: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[net.dimensions - 1]
        options = {"momentum": net.momentum, "track_running_stats": net.tracked}
        self.layer = randomize_state(subject.batch_norm(net.dimensions, CHANNELS, **options))
        around: dict[str, list[nn.Module]] = {
            "alone": [self.layer],
            "block": [conv(CHANNELS, CHANNELS, 3, padding=1), self.layer, nn.ReLU(), conv(CHANNELS, 2, 1)],
            "dropout": [nn.Dropout(0.5), self.layer, nn.Dropout(0.5)],
        }
        self.net = nn.Sequential(*around[net.kind]).to(subject.device).train(net.training)
        #: The inputs of the layer.
        self.inputs: list[torch.Tensor] = []
        self.layer.register_forward_pre_hook(lambda _, given: self.inputs.append(given[0].detach()))

    def state(self) -> dict[str, torch.Tensor | None]:
        found = {name: getattr(self.layer, name, None) for name in (*STATISTICS, "num_batches_tracked")}
        return {name: None if one is None else one.detach().clone() for name, one in found.items()}


def _call(net: Any, variant: str, x: torch.Tensor) -> Any:
    from torch.utils import checkpoint as torchs

    def nested(given: torch.Tensor) -> Any:
        return torchs.checkpoint(net, given, use_reentrant=False)

    def late(given: torch.Tensor) -> Any:
        with torchs.set_checkpoint_early_stop(False):
            return torchs.checkpoint(net, given, use_reentrant=False)

    ways: dict[str, Callable[[torch.Tensor], Any]] = {
        "plain": net,
        "reentrant": lambda given: torchs.checkpoint(net, given, use_reentrant=True),
        "not-reentrant": nested,
        "no-early-stop": late,
        "sequential": lambda given: torchs.checkpoint_sequential(net, len(net), given, use_reentrant=False),
        "nested": lambda given: torchs.checkpoint(nested, given, use_reentrant=False),
    }
    return ways[variant](x)


def _updates(made: CheckpointedNet, before: dict[str, torch.Tensor | None], net: Net) -> dict[str, str]:
    """Returns the number of updates of each statistic by the batch: "0", "1", ..., or "otherwise"."""
    import torch

    x = made.inputs[0].double()
    axes = [axis for axis in range(x.dim()) if axis != 1]
    batch = {"running_mean": x.mean(axes), "running_var": x.var(axes, correction=1)}
    words = {}
    now = made.state()
    counted = before["num_batches_tracked"]
    for name in STATISTICS:
        old, new = before[name], now[name]
        if old is None or new is None or counted is None:
            words[name] = "none" if old is new is None else "otherwise"
            continue
        value, words[name] = old.double(), "otherwise"
        for times in range(MAX_UPDATES + 1):
            if torch.allclose(new.double(), value, rtol=1e-5, atol=1e-6):
                words[name] = str(times)
                break
            share = 1.0 / (int(counted) + times + 1) if net.momentum is None else net.momentum
            value = (1 - share) * value + share * batch[name]
    last = now["num_batches_tracked"]
    words["num_batches_tracked"] = "none" if counted is None or last is None else str(int(last) - int(counted))
    return words


def _count(layer: nn.Module, seen: int) -> None:
    """Sets the counter to `seen` batches, so that a cumulative average distinguishes numbers of updates."""
    counter: Any = getattr(layer, "num_batches_tracked", None)
    if counter is not None:
        counter.fill_(seen)


def _results(made: CheckpointedNet, variant: str, subject: Subject, *, backward: bool) -> dict[str, torch.Tensor]:
    """A step's output and gradients by name."""
    import torch

    x = subject.randn(*SHAPES[made.dimensions]).requires_grad_()
    torch.manual_seed(1)
    for parameter in made.net.parameters():
        parameter.grad = None
    with precision.cudnn(enabled=True, deterministic=True):
        y = _call(made.net, variant, x)
        results = {"y": y.detach()}
        if backward:
            y.backward(subject.randn(*y.shape, seed=1))
    gradients = {"dx": x.grad, **{f"d{name}": one.grad for name, one in made.net.named_parameters()}}
    return results | {name: one for name, one in gradients.items() if one is not None}


def _step(subject: Subject, *, net: Net, variants: tuple[str, ...], backward: bool) -> Iterator[Observation]:
    """Checkpointed steps beside a plain one: the same output and gradients, and statistics that move once."""
    made = CheckpointedNet(subject, net)
    _count(made.layer, 3)
    weights = copy.deepcopy(made.net.state_dict())
    plain = _results(made, "plain", subject, backward=backward)
    for variant in variants:
        made.net.load_state_dict(weights)
        made.inputs.clear()
        before = made.state()
        seen = _results(made, variant, subject, backward=backward)
        yield Observation(f"{variant}/results", "+".join(seen), expected="+".join(plain))
        for name in (one for one in plain if one in seen):
            # both are right: they may differ in the last digit
            yield Observation(f"{variant}/{name}", error_ratio(seen[name], plain[name], plain[name]), LIMIT)
        due = str(int(net.training)) if net.tracked else "none"
        for name, word in _updates(made, before, net).items():
            yield Observation(f"{variant}/updates of {name}", word, expected=due)


def cases() -> Iterator[BehaviourCase]:
    case = partial(
        BehaviourCase,
        group="checkpoint",
        rule="a checkpointed step gives the results of a plain one, and updates the statistics once",
    )
    for dimensions in SHAPES:
        where, quick = f"batch_norm{dimensions}d", dimensions == 2
        for kind, momentum in product(("alone", "block", "dropout"), (0.1, None)):
            net = Net(kind, dimensions, momentum=momentum)
            yield case(
                name=f"{where}/train/{kind}/momentum={momentum}".lower(),
                observe=partial(_step, net=net, variants=VARIANTS, backward=True),
                rows=("T06", "T07"),
                quick=quick and kind != "dropout",
            )
        for kind in ("alone", "block"):
            yield case(
                name=f"{where}/train/{kind}/forward",
                observe=partial(_step, net=Net(kind, dimensions), variants=VARIANTS, backward=False),
                rows=("T08",),
                quick=quick,
            )
        for training, tracked in ((False, True), (True, False), (False, False)):
            net = Net("block", dimensions, training, tracked=tracked)
            yield case(
                name=f"{where}/{'train' if training else 'eval'}/block/tracking={'on' if tracked else 'off'}",
                observe=partial(_step, net=net, variants=VARIANTS, backward=True),
            )
