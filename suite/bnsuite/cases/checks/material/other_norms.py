"""Torch's normalization layers on inputs of one shape, and the same by two-pass arithmetic.

`Norm` is the one table of them: how each is made, which values it takes together, and what it computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import Observation, Subject
from bnsuite.cases.checks.material.arithmetic import (
    LIMIT,
    StepResult,
    compare,
    layer_step,
    randomize_state,
)
from bnsuite.cases.checks.material.states import STATISTICS

if TYPE_CHECKING:
    import torch
    from torch import nn

BATCH = "batch_norm"
LAYER, GROUP, INSTANCE, RMS = KINDS = ("layer_norm", "group_norm", "instance_norm", "rms_norm")
#: Those that subtract a mean.
CENTRED = (LAYER, GROUP, INSTANCE)
EPS = 1e-5


@dataclass(frozen=True)
class Norm:
    """A norm of inputs of `shape`, (N, C, ...), in a mode; its values are normalized in slices.

    A slice is a channel of all samples for batch norm, one of a sample for instance norm, a group of channels of a
    sample for group norm, and all from `axis` on for layer and RMS norm, which have a weight for each place there.
    """

    kind: str
    shape: tuple[int, ...]
    training: bool = True
    #: It keeps running statistics: batch and instance norm can.
    tracked: bool = False
    #: None for RMS norm's own.
    eps: float | None = EPS
    momentum: float = 0.1
    affine: bool = True
    #: Layer norm alone can have a weight without a bias.
    bias: bool = True
    axis: int = 1
    #: The groups of a group norm; two, or one if the channels can't be halved, if it is None.
    groups: int | None = None

    @property
    def by_batch(self) -> bool:
        """The statistics are those of the input."""
        return self.training or not self.tracked

    def layer(self, subject: Subject | None = None) -> nn.Module:
        """Returns a new layer; `subject` makes a batch norm."""
        from torch import nn

        channels, rank = self.shape[1], len(self.shape)
        eps = EPS if self.eps is None else self.eps
        statistics = {"momentum": self.momentum, "affine": self.affine, "track_running_stats": self.tracked}
        if self.kind == LAYER:
            extra = {} if self.bias else {"bias": False}
            return nn.LayerNorm(self.shape[self.axis :], eps, elementwise_affine=self.affine, **extra)
        if self.kind == RMS:
            return nn.RMSNorm(self.shape[self.axis :], self.eps, elementwise_affine=self.affine)
        if self.kind == GROUP:
            return nn.GroupNorm(self.parts(channels), channels, eps=eps, affine=self.affine)
        if self.kind == BATCH:
            assert subject is not None
            return subject.batch_norm(max(1, rank - 2), channels, eps=eps, **statistics)
        return instance_norm(rank - 2, channels, eps=eps, **statistics)

    def module(self, subject: Subject) -> nn.Module:
        """Returns a new layer on the device, with uneven weights, biases and running statistics, in its mode."""
        return randomize_state(self.layer(subject).to(subject.device)).train(self.training)

    def parts(self, channels: int) -> int:
        """Returns the number of slices of a sample of `channels`; for layer and RMS norm from axis 1 on."""
        if self.kind == INSTANCE:
            return channels
        if self.kind != GROUP:
            return 1
        return self.groups or (2 if channels % 2 == 0 else 1)

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        """Returns `x` by slices: (slices, values of each)."""
        if self.kind == BATCH:
            return x.movedim(1, 0).flatten(1)
        if self.kind in {LAYER, RMS}:
            return x.reshape(-1, *self.shape[self.axis :]).flatten(1)
        return x.reshape(x.shape[0] * self.parts(x.shape[1]), -1) if x.numel() else x.flatten(1)

    def unrows(self, rows: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """Returns what has `rows` in the `shape` of an input."""
        if self.kind == BATCH:
            return rows.reshape(shape[1], shape[0], *shape[2:]).movedim(0, 1)
        return rows.reshape(shape)

    def output(self, layer: nn.Module, x: torch.Tensor, *affine: torch.Tensor) -> torch.Tensor:
        """Returns the output by basic operations in the precision of `x`; `affine` are the weight and the bias."""
        import torch

        by_place = self.kind in {LAYER, RMS}
        shape = x.shape[self.axis :] if by_place else (-1, *[1] * (x.dim() - 2))
        eps = self.eps
        if eps is None:
            eps = torch.finfo(torch.promote_types(x.dtype, torch.float32)).eps
        if self.by_batch:
            rows = self.rows(x)
            centred = rows if self.kind == RMS else rows - rows.mean(1, keepdim=True)
            unit = self.unrows(centred / (centred.square().mean(1, keepdim=True) + eps).sqrt(), x.shape)
        else:
            mean, var = (layer.get_buffer(name).to(x.dtype).view(shape) for name in STATISTICS)
            unit = (x - mean) / (var + eps).sqrt()
        for one, apply in zip(affine, (unit.__class__.mul, unit.__class__.add), strict=False):
            unit = apply(unit, one.view(shape))
        return unit

    def reference_step(self, x: torch.Tensor, layer: nn.Module) -> torch.Tensor:
        """Returns the output for `x` with the parameters of `layer`, in the precision of `x`."""
        return self.output(layer, x, *(one.to(x.dtype) for one in affine_of(layer).values()))

    def reference(self, layer: nn.Module, x: torch.Tensor, dy: torch.Tensor | None, *, exact: bool) -> StepResult:
        """Returns the results of a step from the present state of `layer`: in float64 if `exact`, else rounded."""
        import torch

        compute = torch.float64 if exact or x.dtype == torch.float64 else torch.float32
        named = affine_of(layer)
        leaf, *affine = (one.detach().to(compute).contiguous().clone().requires_grad_() for one in (x, *named.values()))
        y = self.output(layer, leaf, *affine)
        seen = StepResult(y=y.detach())
        if dy is not None:
            seen.dx, *grads = torch.autograd.grad(y, (leaf, *affine), dy.detach().to(compute))
            for name, grad in zip(named, grads, strict=True):
                setattr(seen, f"d{name}", grad)
        if self.tracked:
            self._track(seen, layer, leaf.detach())
        return seen if exact else _rounded(seen, x, layer)

    def _track(self, seen: StepResult, layer: nn.Module, x: torch.Tensor) -> None:
        """Sets the running statistics after a step: the mean over the samples of what each of them has."""
        rows = self.rows(x)
        count = rows.shape[1]
        for name, new in (("running_mean", rows.mean(1)), ("running_var", rows.var(1, correction=0))):
            old = layer.get_buffer(name).detach().to(x.dtype).clone()
            if self.training:
                unbiased = new * (count / (count - 1)) if name == "running_var" else new
                if self.kind == INSTANCE:
                    unbiased = unbiased.view(x.shape[0], x.shape[1]).mean(0)
                old = (1 - self.momentum) * old + self.momentum * unbiased
            setattr(seen, name, old)

    def by_slice(self, seen: StepResult) -> StepResult:
        """Returns `seen` with outputs and input gradients by slices, as `compare` has channels, the rest as rows."""
        found = StepResult(**vars(seen))
        for name in ("y", "dx"):
            one = getattr(seen, name)
            setattr(found, name, None if one is None else self.rows(one)[None])
        return flat(found)


def instance_norm(dimensions: int, channels: int, **arguments: Any) -> nn.Module:
    """Returns torch's instance norm for inputs (N, channels, ...) of 1 to 3 `dimensions` more, on the CPU."""
    from torch import nn

    kinds: dict[int, Any] = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
    made: nn.Module = kinds[dimensions](channels, **arguments)
    return made


def affine_of(layer: nn.Module) -> dict[str, torch.Tensor]:
    """Returns the weight and the bias of a layer by name, those that it has."""
    pairs = ((name, getattr(layer, name, None)) for name in ("weight", "bias"))
    return {name: one for name, one in pairs if one is not None}


def step_of(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor) -> StepResult:
    """Returns the results of a step; the gradients are as the layer gives them, not copied as ``.grad`` is."""
    import torch

    leaf = x.detach().requires_grad_()
    y = layer(leaf)
    named = affine_of(layer)
    dx, *grads = torch.autograd.grad(y, (leaf, *named.values()), dy)
    seen = StepResult(y=y.detach(), dx=dx, **{f"d{name}": grad for name, grad in zip(named, grads, strict=True)})
    for name in STATISTICS:
        found = getattr(layer, name, None)
        setattr(seen, name, None if found is None else found.detach().clone())
    return seen


def make(subject: Subject, kind: str, shape: tuple[int, ...], *, eps: float = EPS) -> nn.Module:
    """Returns a layer for inputs of `shape`, (N, C, ...), with uneven weights and biases."""
    return Norm(kind, shape, eps=eps).module(subject)


def reference_step(
    kind: str, layer: nn.Module, x: torch.Tensor, dy: torch.Tensor | None, *, exact: bool, eps: float = EPS
) -> StepResult:
    """Returns the results of two-pass arithmetic: in float64 if `exact`, else in float32 and rounded."""
    return Norm(kind, tuple(x.shape), eps=eps).reference(layer, x, dy, exact=exact)


def _rounded(seen: StepResult, x: torch.Tensor, layer: Any) -> StepResult:
    named = affine_of(layer)
    likes = {"y": x, "dx": x, **{f"d{name}": one for name, one in named.items()}}
    for name, like in (*likes.items(), *((name, getattr(layer, name, None)) for name in STATISTICS)):
        found = getattr(seen, name)
        if found is not None and like is not None:
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
