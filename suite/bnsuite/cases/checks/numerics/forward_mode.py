"""Family ``forward-mode``: directional derivatives, nested, batched, and mixed with the backward pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bnsuite.cases import gpu_errors
from bnsuite.cases.checks.case import NumericsCase, Observation, Subject
from bnsuite.cases.checks.material.arithmetic import randomize_state

if TYPE_CHECKING:
    import torch
    from torch import nn

    #: A norm as a function of an input, and of a weight and a bias where it has them.
    Function = Callable[..., torch.Tensor]

#: The largest error of a derivative in double precision, as a share of its size.
NEAR = 1e-6
#: Large enough to be felt, so that a derivative that leaves it out is wrong.
EPS = 0.1
BATCH, LAYER, GROUP, INSTANCE, RMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")


@dataclass(frozen=True)
class _Layer:
    """A norm, the shape of its input, (N, C, ...), and its mode."""

    norm: str
    shape: tuple[int, ...]
    training: bool = True
    tracked: bool = False

    @property
    def by_batch(self) -> bool:
        return self.training or not self.tracked

    def module(self, subject: Subject) -> nn.Module:
        from torch import nn

        channels, rank = self.shape[1], len(self.shape)
        layer: nn.Module
        if self.norm == BATCH:
            layer = subject.batch_norm(max(1, rank - 2), channels, eps=EPS, track_running_stats=self.tracked)
        elif self.norm == LAYER:
            layer = nn.LayerNorm(self.shape[1:], eps=EPS)
        elif self.norm == RMS:
            layer = nn.RMSNorm(self.shape[1:], eps=EPS)
        elif self.norm == GROUP:
            layer = nn.GroupNorm(2, channels, eps=EPS)
        else:
            instance: Any = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}[rank]
            layer = instance(channels, eps=EPS, affine=True, track_running_stats=self.tracked)
        layer = layer.to(subject.device).double()
        return (randomize_state(layer) if self.norm != RMS else _uneven(layer, subject)).train(self.training)

    def basic(self, module: nn.Module, x: torch.Tensor, *affine: torch.Tensor) -> torch.Tensor:
        """Returns the output by basic operations, whose derivatives are sure."""
        by_place = self.norm in {LAYER, RMS}
        shape = self.shape[1:] if by_place else (-1, *[1] * (x.dim() - 2))
        if self.by_batch:
            whole = self.shape
            parts = x.reshape(whole[0], 2, -1) if self.norm == GROUP else x
            axes = self._axes(parts.dim())
            mean = parts.mean(axes, keepdim=True) if self.norm != RMS else parts.new_zeros(())
            centred = parts - mean
            unit = (centred / (centred.square().mean(axes, keepdim=True) + EPS).sqrt()).reshape(whole)
        else:
            mean, var = (module.get_buffer(f"running_{name}").view(shape) for name in ("mean", "var"))
            unit = (x - mean) / (var + EPS).sqrt()
        for one, apply in zip(affine, (unit.__class__.mul, unit.__class__.add), strict=False):
            unit = apply(unit, one.view(shape))
        return unit

    def _axes(self, rank: int) -> list[int]:
        """The dimensions that a mean is over."""
        if self.norm == BATCH:
            return [0, *range(2, rank)]
        return list(range(1 if self.norm in {LAYER, RMS} else 2, rank))


def _uneven(layer: nn.Module, subject: Subject) -> nn.Module:
    weight = layer.get_parameter("weight")
    weight.data.copy_(subject.randn(*weight.shape, seed=9, dtype="float64"))
    return layer


def _derivatives(subject: Subject, leaves: tuple[torch.Tensor, ...]) -> dict[str, Callable[[Function], torch.Tensor]]:
    """Returns each derivative as a function of a norm; all are in fixed directions, at `leaves`."""
    import torch
    from torch import func

    def direction(seed: int) -> tuple[torch.Tensor, ...]:
        return tuple(subject.randn(*leaf.shape, seed=seed + at, dtype="float64") for at, leaf in enumerate(leaves))

    one, other, third = direction(20), direction(30), direction(40)
    batch = tuple(torch.stack(parts) for parts in zip(one, other, third, strict=True))
    dy = subject.randn(*leaves[0].shape, seed=50, dtype="float64")

    def along(norm: Function, tangent: tuple[torch.Tensor, ...]) -> Function:
        return lambda *given: func.jvp(norm, given, tangent)[1]

    def backward(norm: Function) -> Function:
        return lambda *given: torch.cat([part.flatten() for part in func.vjp(norm, *given)[1](dy)])

    def batched(norm: Function) -> torch.Tensor:
        found: torch.Tensor = func.vmap(lambda *tangent: along(norm, tangent)(*leaves))(*batch)
        return found

    def nested_batched(norm: Function) -> torch.Tensor:
        found: torch.Tensor = func.vmap(lambda *tangent: along(along(norm, one), tangent)(*leaves))(*batch)
        return found

    return {
        "jvp": lambda norm: along(norm, one)(*leaves),
        "jvp of jvp": lambda norm: along(along(norm, one), other)(*leaves),
        "jvp of jvp of jvp": lambda norm: along(along(along(norm, one), other), third)(*leaves),
        "vmap of jvp": batched,
        "vmap of jvp of jvp": nested_batched,
        "jvp of vjp": lambda norm: along(backward(norm), one)(*leaves),
        "vjp of jvp": lambda norm: backward(along(norm, one))(*leaves),
    }


def _observe(subject: Subject, *, layer: _Layer) -> Iterator[Observation]:
    """Each derivative by the input and the parameters at once: right, or refused as accepted, but not wrong."""
    import torch

    module = layer.module(subject)
    affine = (getattr(module, name, None) for name in ("weight", "bias"))
    given = (subject.randn(*layer.shape, dtype="float64"), *(one for one in affine if one is not None))
    leaves = tuple(one.detach().clone() for one in given)
    kept = {name: value.clone() for name, value in module.named_buffers()}

    def seen(x: torch.Tensor, *affine: torch.Tensor) -> torch.Tensor:
        named = dict(zip(("weight", "bias"), affine, strict=False))
        y: torch.Tensor = torch.func.functional_call(module, {**named, **kept}, (x,))
        return y.tanh()

    def exact(x: torch.Tensor, *affine: torch.Tensor) -> torch.Tensor:
        return layer.basic(module, x, *affine).tanh()

    for name, derivative in _derivatives(subject, leaves).items():
        truth = derivative(exact).detach()
        try:
            found = derivative(seen).detach()
        except (RuntimeError, NotImplementedError, ValueError) as error:
            gpu_errors.note(error)
            yield Observation(name, "refused")
            continue
        off = ((found - truth).norm() / truth.norm()).item()
        right = math.isfinite(off) and off <= NEAR
        yield Observation(name, "right" if right else "wrong", expected=None if right else "right")


LAYERS = (
    *(_Layer(BATCH, shape) for shape in ((6, 4), (3, 4, 5), (3, 4, 2, 3), (3, 4, 2, 1, 2))),
    *(_Layer(LAYER, shape) for shape in ((6, 4), (3, 4, 5))),
    _Layer(RMS, (6, 4)),
    _Layer(RMS, (3, 4, 5)),
    *(_Layer(GROUP, shape) for shape in ((6, 4), (3, 4, 5), (3, 4, 2, 3))),
    *(_Layer(INSTANCE, shape) for shape in ((3, 4, 5), (3, 4, 2, 3), (3, 4, 2, 1, 2))),
)


def _all_layers() -> Iterator[_Layer]:
    """Every norm, and those that can keep statistics in both modes, with and without them."""
    for layer in LAYERS:
        yield layer
        if layer.norm in {BATCH, INSTANCE}:
            for training, tracked in ((False, False), (True, True), (False, True)):
                yield _Layer(layer.norm, layer.shape, training, tracked)


def _name(layer: _Layer) -> str:
    shape = "x".join(map(str, layer.shape))
    if layer.norm not in {BATCH, INSTANCE}:
        return f"{layer.norm}/{shape}"
    mode, kept = ("train" if layer.training else "eval"), ("tracked" if layer.tracked else "untracked")
    return f"{layer.norm}/{shape}/{mode}/{kept}"


def cases() -> Iterator[NumericsCase]:
    for layer in _all_layers():
        rows = {BATCH: ("N83",), LAYER: ("N84",)}.get(layer.norm, ()) if layer.by_batch else ()
        yield NumericsCase(
            group="forward-mode",
            name=_name(layer),
            observe=partial(_observe, layer=layer),
            rule="a forward-mode derivative is that of the same computation by basic operations, or is refused",
            rows=rows,
            torch_only=layer.norm != BATCH,
            quick=layer.norm == BATCH and layer.shape == (6, 4) and layer.training,
        )
