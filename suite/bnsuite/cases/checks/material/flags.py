"""Layers whose flags are set after construction, and the statistics that their calls read and write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnsuite.cases import gpu_errors
from bnsuite.cases.checks.case import Subject
from bnsuite.cases.checks.material.arithmetic import randomize_state
from bnsuite.cases.checks.material.states import BUFFERS, STATISTICS

if TYPE_CHECKING:
    import torch
    from torch import nn

SHAPES: dict[int, tuple[int, ...]] = {1: (6, 5, 4), 2: (6, 5, 3, 4), 3: (4, 5, 2, 3, 2)}
#: Buffers that are removed after construction, by the name of the removal.
REMOVED: dict[str, tuple[str, ...]] = {
    "kept": (),
    "taken": STATISTICS,
    "mean-taken": ("running_mean",),
    "var-taken": ("running_var",),
    "counter-taken": ("num_batches_tracked",),
    "all-taken": BUFFERS,
}
MOMENTUM = 0.3
EPS = 1e-5


@dataclass(frozen=True)
class Setting:
    """The construction of a layer, and the changes after it."""

    training: bool
    #: track_running_stats as the layer is made, and set later if it is.
    made: bool
    later: bool | None = None
    affine: bool = True
    removed: str = "kept"
    momentum: float | None = MOMENTUM

    @property
    def documented(self) -> bool:
        """True where torch documents the result; any other is compared with the accepted one."""
        return self.later is None and self.removed == "kept"


def _axes(x: torch.Tensor) -> list[int]:
    return [axis for axis in range(x.dim()) if axis != 1]


def source(
    x: torch.Tensor, y: torch.Tensor, layer: nn.Module, mean: torch.Tensor | None, var: torch.Tensor | None
) -> str:
    """Returns the statistics by which `y` was made of `x`: of the batch, of each sample, or the stored ones."""
    import torch

    lifted, axes = x.detach().double(), _axes(x)
    shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
    pairs = {"batch": (lifted.mean(axes, keepdim=True), lifted.var(axes, correction=0, keepdim=True))}
    pairs["sample"] = (lifted.mean(axes[1:], keepdim=True), lifted.var(axes[1:], correction=0, keepdim=True))
    if mean is not None and var is not None:
        pairs["stored"] = (mean.double().view(shape), var.double().view(shape))
    for name, (m, v) in pairs.items():
        expected = (lifted - m) / (v + EPS).sqrt()
        for parameter, done in (("weight", torch.mul), ("bias", torch.add)):
            found = getattr(layer, parameter, None)
            if found is not None:
                expected = done(expected, found.detach().double().view(shape))
        if torch.allclose(y.detach().double(), expected, rtol=1e-4, atol=1e-4):
            return name
    return "neither"


def written(
    layer: nn.Module,
    before: dict[str, torch.Tensor | None],
    x: torch.Tensor,
    momentum: float | None,
    *,
    by_sample: bool = False,
) -> str:
    """Returns the buffers that a step on `x` changed from `before`, marked if to wrong values.

    They take in the statistics of the batch, or `by_sample` the mean of those of the samples.
    """
    import torch

    lifted, axes = x.detach().double(), _axes(x)
    counted = before["num_batches_tracked"]
    share = (1.0 / (1 + int(counted)) if counted is not None else 0.0) if momentum is None else momentum
    var = lifted.var(axes[1:], correction=1).mean(0) if by_sample else lifted.var(axes, correction=1)
    batch = {"running_mean": lifted.mean(axes), "running_var": var}
    words = []
    for name, old in before.items():
        now = getattr(layer, name, None)
        if old is None or now is None:
            if (old is None) != (now is None):
                words.append(f"{name} appeared or went")
            continue
        if torch.equal(old, now):
            continue
        due = old + 1 if name == "num_batches_tracked" else (1 - share) * old.double() + share * batch[name]
        words.append(name if torch.allclose(now.double(), due.double(), rtol=1e-4) else f"{name} wrongly")
    return "+".join(words) or "nothing"


def read_and_written(
    layer: nn.Module, x: torch.Tensor, momentum: float | None = MOMENTUM, *, by_sample: bool = False
) -> tuple[str, str]:
    """Returns the statistics that a call of `layer` reads, or its error; and those that it writes."""
    before = {name: None if (b := getattr(layer, name, None)) is None else b.detach().clone() for name in BUFFERS}
    try:
        y = layer(x)
    except Exception as error:  # noqa: BLE001  # whatever a layer raises is what is looked at
        gpu_errors.note(error)
        read = type(error).__name__
    else:
        read = source(x, y, layer, before["running_mean"], before["running_var"])
    return read, written(layer, before, x, momentum, by_sample=by_sample)


def make(subject: Subject, dimensions: int, setting: Setting) -> nn.Module:
    layer: Any = randomize_state(
        subject.batch_norm(
            dimensions,
            SHAPES[dimensions][1],
            affine=setting.affine,
            track_running_stats=setting.made,
            momentum=setting.momentum,
        )
    )
    if setting.later is not None:
        layer.track_running_stats = setting.later
    for name in REMOVED[setting.removed]:
        setattr(layer, name, None)
    done: nn.Module = layer.train(setting.training)
    return done
