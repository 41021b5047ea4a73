"""Layer, group and instance norm, and the same by two-pass arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import Observation, Subject
from bnsuite.cases.checks.material.arithmetic import LIMIT, StepResult, compare, layer_step, randomize_state

if TYPE_CHECKING:
    import torch
    from torch import nn

LAYER, GROUP, INSTANCE = KINDS = ("layer_norm", "group_norm", "instance_norm")
EPS = 1e-5


def groups_of(kind: str, channels: int) -> int:
    """Returns the number of groups of a sample of `channels`; a group norm has two, or one if they can't be halved."""
    if kind == INSTANCE:
        return channels
    return 2 if kind == GROUP and channels % 2 == 0 else 1


def make(subject: Subject, kind: str, shape: tuple[int, ...], *, eps: float = EPS) -> nn.Module:
    """Returns a layer for inputs of `shape`, (N, C, ...), with uneven weights and biases.

    Layer norm takes in all but N, so it has a weight for each place of a sample; the others have one a channel.
    """
    from torch import nn

    channels = shape[1]
    layer: nn.Module
    if kind == LAYER:
        layer = nn.LayerNorm(shape[1:], eps=eps)
    elif kind == GROUP:
        layer = nn.GroupNorm(groups_of(kind, channels), channels, eps=eps)
    else:
        instance: Any = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}[len(shape)]
        layer = instance(channels, eps=eps, affine=True)
    return randomize_state(layer.to(subject.device))


def reference_step(
    kind: str, layer: Any, x: torch.Tensor, dy: torch.Tensor | None, *, exact: bool, eps: float = EPS
) -> StepResult:
    """Returns the results of two-pass arithmetic: in float64 if `exact`, else in float32 and rounded."""
    import torch

    compute = torch.float64 if exact or x.dtype == torch.float64 else torch.float32
    leaf, weight, bias = (
        one.detach().to(compute).contiguous().clone().requires_grad_() for one in (x, layer.weight, layer.bias)
    )
    parts = leaf.reshape(leaf.shape[0], groups_of(kind, leaf.shape[1]), -1)
    centred = parts - parts.mean(-1, keepdim=True)
    var = centred.square().mean(-1, keepdim=True)
    unit = (centred / (var + eps).sqrt()).reshape(leaf.shape)
    shape = leaf.shape[1:] if kind == LAYER else (-1, *[1] * (leaf.dim() - 2))
    y = unit * weight.view(shape) + bias.view(shape)
    seen = StepResult(y=y.detach())
    if dy is not None:
        y.backward(dy.detach().to(compute))
        seen.dx, seen.dweight, seen.dbias = leaf.grad, weight.grad, bias.grad
    return seen if exact else _rounded(seen, x, layer)


def _rounded(seen: StepResult, x: torch.Tensor, layer: Any) -> StepResult:
    for name, like in (("y", x), ("dx", x), ("dweight", layer.weight), ("dbias", layer.bias)):
        found = getattr(seen, name)
        if found is not None:
            setattr(seen, name, found.to(like.dtype))
    return seen


def flat(seen: StepResult) -> StepResult:
    """Returns `seen` with the gradients of parameters as one row: layer norm's have the shape of a sample."""
    for name in ("dweight", "dbias"):
        found = getattr(seen, name)
        setattr(seen, name, None if found is None else found.flatten())
    return seen


def step_against_float64(
    kind: str,
    layer: nn.Module,
    x: torch.Tensor,
    dy: torch.Tensor | None,
    *,
    eps: float = EPS,
    limit: float = LIMIT,
    prefix: str = "",
) -> Iterator[Observation]:
    """Compares one step of `layer` with two-pass arithmetic in every part."""
    seen = layer_step(layer, x, dy)
    seen.running_mean = seen.running_var = None
    exact, rounded = (reference_step(kind, layer, x, dy, exact=one, eps=eps) for one in (True, False))
    yield from compare(flat(seen), flat(exact), flat(rounded), limit=limit, prefix=prefix)


@dataclass(frozen=True)
class Norm:
    """Another norm on an input of many samples; statistics are over `groups` equal parts of each sample."""

    name: str
    shape: tuple[int, ...]
    groups: int

    def layer(self) -> nn.Module:
        from torch import nn

        if self.name == "layer_norm":
            return nn.LayerNorm(self.shape[1:])
        if self.name == "group_norm":
            return nn.GroupNorm(self.groups, self.shape[1])
        return nn.InstanceNorm1d(self.shape[1], affine=True)

    def reference_step(self, x: torch.Tensor, layer: nn.Module) -> torch.Tensor:
        """Returns the output for `x`, in its precision."""
        parts = x.reshape(x.shape[0], self.groups, -1)
        away = parts - parts.mean(2, keepdim=True)
        y = (away / (away.square().mean(2, keepdim=True) + 1e-5).sqrt()).view(x.shape)
        weight, bias = (layer.get_parameter(name).to(x.dtype) for name in ("weight", "bias"))
        if self.name == "layer_norm":
            return y * weight + bias
        shape = (-1, *[1] * (x.dim() - 2))
        return y * weight.view(shape) + bias.view(shape)
