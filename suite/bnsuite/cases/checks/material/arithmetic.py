"""Two-pass batch norm in float64, and the error of the same arithmetic in the precision of a layer.

An error is a multiple of the error of a two-pass composite: mean, then the mean of the squared deviations.
The composite computes in float32 at the least and rounds its results to the precision of what it stands beside, so
that half precision is held to float32 sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from bnsuite.cases.checks.case import BOUNDLESS, Observation

if TYPE_CHECKING:
    import torch
    from torch import nn

#: The most an error may be, in errors of the composite.
LIMIT = 30.0


@dataclass
class StepResult:
    """The results of one step of a layer, None where there is none; per channel but `y` and `dx`."""

    y: torch.Tensor | None = None
    dx: torch.Tensor | None = None
    dweight: torch.Tensor | None = None
    dbias: torch.Tensor | None = None
    running_mean: torch.Tensor | None = None
    running_var: torch.Tensor | None = None


@dataclass(frozen=True)
class LayerState:
    """The state of a layer before its step: parameters, running statistics and settings."""

    weight: torch.Tensor | None
    bias: torch.Tensor | None
    running_mean: torch.Tensor | None
    running_var: torch.Tensor | None
    counted: int
    momentum: float | None
    eps: float
    #: The statistics of the batch are used.
    by_batch: bool
    training: bool


def state_of(layer: nn.Module, *, eps: float = 1e-5, momentum: float | None = 0.1) -> LayerState:
    """Returns the state of `layer`, which was made with this `eps` and `momentum`."""

    def copy(name: str) -> torch.Tensor | None:
        found = getattr(layer, name, None)
        return None if found is None else found.detach().clone()

    mean = copy("running_mean")
    counter = getattr(layer, "num_batches_tracked", None)
    return LayerState(
        weight=copy("weight"),
        bias=copy("bias"),
        running_mean=mean,
        running_var=copy("running_var"),
        counted=0 if counter is None else int(counter),
        momentum=momentum,
        eps=eps,
        by_batch=layer.training or mean is None,
        training=layer.training,
    )


def randomize_state(layer: nn.Module, seed: int = 7) -> nn.Module:
    """Moves weights, biases and running statistics away from their defaults, which hide faults; returns `layer`."""
    import torch

    generator = torch.Generator().manual_seed(seed)

    def fill(name: str, low: float, high: float) -> None:
        found = getattr(layer, name, None)
        if found is not None:
            made = torch.rand(found.shape, generator=generator) * (high - low) + low
            with torch.no_grad():
                found.copy_(made)

    fill("weight", 0.5, 1.5)
    fill("bias", -1.0, 1.0)
    fill("running_mean", 2.0, 4.0)
    fill("running_var", 5.0, 9.0)
    return layer


def layer_step(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor | None) -> StepResult:
    """Returns the results of a forward pass of `layer` on `x`, and of a backward pass from `dy` if there is one.

    `x` is not changed; it is taken with its strides and storage.
    """
    if dy is None:
        import torch

        with torch.no_grad():
            y = layer(x)
        seen = StepResult(y=y)
    else:
        leaf = x.detach().requires_grad_()
        for parameter in layer.parameters():
            parameter.grad = None
        y = layer(leaf)
        y.backward(dy)
        weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
        seen = StepResult(
            y=y.detach(),
            dx=leaf.grad,
            dweight=None if weight is None else weight.grad,
            dbias=None if bias is None else bias.grad,
        )
    for name in ("running_mean", "running_var"):
        found = getattr(layer, name, None)
        setattr(seen, name, None if found is None else found.detach().clone())
    return seen


def reference_step(start: LayerState, x: torch.Tensor, dy: torch.Tensor | None, *, exact: bool) -> StepResult:
    """Returns the results of two-pass arithmetic: in float64 if `exact`, else in the precision expected of the layer.

    `x` is (N, C, ...); gradients come from autograd through basic operations.
    """
    import torch

    compute = torch.float64 if exact or x.dtype == torch.float64 else torch.float32

    def lift(given: torch.Tensor | None, *, with_gradient: bool = False) -> torch.Tensor | None:
        return None if given is None else given.detach().to(compute).clone().requires_grad_(with_gradient)

    backward = dy is not None
    leaf = lift(x.contiguous(), with_gradient=backward)
    assert leaf is not None
    weight, bias = (lift(one, with_gradient=backward) for one in (start.weight, start.bias))
    axes = [axis for axis in range(leaf.dim()) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(leaf.dim())]
    running_mean, running_var = lift(start.running_mean), lift(start.running_var)
    count = leaf.numel() // leaf.shape[1]
    if start.by_batch:
        mean = leaf.mean(axes, keepdim=True)
        var = (leaf - mean).square().mean(axes, keepdim=True)
        if start.training and running_mean is not None and running_var is not None:
            share = 1.0 / (start.counted + 1) if start.momentum is None else start.momentum
            running_mean = (1 - share) * running_mean + share * mean.detach().flatten()
            running_var = (1 - share) * running_var + share * var.detach().flatten() * (count / (count - 1))
    else:
        assert running_mean is not None
        assert running_var is not None
        mean, var = running_mean.view(shape), running_var.view(shape)
    y = (leaf - mean) / (var + start.eps).sqrt()
    if weight is not None:
        y = y * weight.view(shape)
    if bias is not None:
        y = y + bias.view(shape)
    seen = StepResult(y=y.detach(), running_mean=running_mean, running_var=running_var)
    if dy is not None:
        y.backward(lift(dy))
        seen.dx = leaf.grad
        seen.dweight = None if weight is None else weight.grad
        seen.dbias = None if bias is None else bias.grad
    if not exact:
        stored = (("running_mean", start.running_mean), ("running_var", start.running_var))
        for name, like in (("y", x), ("dx", x), ("dweight", start.weight), ("dbias", start.bias), *stored):
            found = getattr(seen, name)
            if found is not None and like is not None:
                setattr(seen, name, found.to(like.dtype))
    return seen


def compare(
    seen: StepResult, exact: StepResult, rounded: StepResult, *, limit: float = LIMIT, prefix: str = ""
) -> Iterator[Observation]:
    """Yields the error of each part of `seen`, in errors of `rounded`."""
    for part in fields(StepResult):
        one, truth, two_pass = (getattr(side, part.name) for side in (seen, exact, rounded))
        if (one is None) != (truth is None):
            yield Observation(f"{prefix}{part.name}", "missing" if one is None else "there", expected="as in torch")
        elif one is not None:
            yield Observation(f"{prefix}{part.name}", error_ratio(one, truth, two_pass), limit)


def jogged(x: torch.Tensor) -> torch.Tensor:
    """`x` in float64, each value off by up to half a unit in float32's last place.

    An error that this makes in exact arithmetic is one that any method in float32 may make.
    """
    import torch

    wide = x.detach().double().contiguous()
    unit = torch.finfo(torch.float32 if x.dtype != torch.float64 else torch.float64).eps
    noise = torch.rand(wide.shape, generator=torch.Generator().manual_seed(11), dtype=torch.float64).to(x.device)
    return wide + (noise - 0.5) * unit * wide.abs()


def compare_blurred(
    seen: StepResult, exact: StepResult, rounded: StepResult, jogged: StepResult
) -> Iterator[Observation]:
    """Yields errors over the larger of two unavoidable ones: the composite's, and half the input's resolution."""
    for part in fields(StepResult):
        one, truth, two_pass, blurred = (getattr(side, part.name) for side in (seen, exact, rounded, jogged))
        if one is not None and truth is not None:
            least = min(error_ratio(one, truth, two_pass), error_ratio(one, truth, blurred))
            yield Observation(part.name, least, LIMIT)


def error_ratio(seen: torch.Tensor, exact: torch.Tensor, rounded: torch.Tensor) -> float:
    """Returns the largest error of a channel, in errors of `rounded`; 1e30 if it is not finite where `exact` is.

    Tensors are (N, C, ...) or (C,). An error under half a unit in the last place of the precision counts as that.
    """
    import torch

    if seen.shape != exact.shape:
        return BOUNDLESS
    if exact.numel() == 0:
        return 0.0
    one, truth, two_pass = (tensor.detach().to(torch.float64) for tensor in (seen, exact, rounded))
    if not torch.isfinite(one[torch.isfinite(truth)]).all():
        return BOUNDLESS
    by_channel = one.dim() > 1
    rows = [(t.movedim(1, 0).flatten(1) if by_channel else t[:, None]) for t in (one, truth, two_pass)]  # (C, n)
    one, truth, two_pass = (row.nan_to_num(0.0, 0.0, 0.0) for row in rows)
    size = truth.square().mean(1).sqrt()  # (C,)
    everywhere = size.square().mean().sqrt().item()
    scale = size.clamp_min(max(everywhere * (1e-6 if by_channel else 1.0), 1e-300))
    error = (one - truth).square().mean(1).sqrt() / scale
    two_pass_error = (two_pass - truth).square().mean(1).sqrt() / scale
    precision = torch.finfo(rounded.dtype).eps / 2  # not that of `seen`, which may have lost digits it should have
    if by_channel:
        floor = two_pass_error.clamp_min(max(two_pass_error.square().mean().sqrt().item(), precision))
    else:
        floor = two_pass_error.max().clamp_min(precision).expand_as(error)
    return min(BOUNDLESS, (error / floor).max().item())


def places(y: torch.Tensor, exact: torch.Tensor) -> float:
    """Returns the largest error of a value in places of its precision; of one under a quarter, in a quarter's."""
    import torch

    truth = exact.double()
    place = torch.finfo(y.dtype).eps * 2.0 ** truth.abs().clamp_min(0.25).log2().floor()
    worst = ((y.double() - truth).abs() / place).max().item()
    return min(BOUNDLESS, worst)


def _buffers(layer: nn.Module, before: torch.Tensor | None, start: LayerState, prefix: str) -> Iterator[Observation]:
    """Checks that the running mean is updated in place, in its precision: other code may hold the tensor."""
    after = getattr(layer, "running_mean", None)
    if before is None or after is None or start.running_mean is None:
        return
    kept = after is before and after.dtype == start.running_mean.dtype
    yield Observation(f"{prefix}buffers", "updated in place" if kept else "replaced", expected="updated in place")


def step_against_float64(
    layer: nn.Module,
    x: torch.Tensor,
    dy: torch.Tensor | None,
    *,
    eps: float = 1e-5,
    momentum: float | None = 0.1,
    limit: float = LIMIT,
    prefix: str = "",
) -> Iterator[Observation]:
    """Compares one step of `layer`, made with this `eps` and `momentum`, with two-pass arithmetic in every part."""
    start = state_of(layer, eps=eps, momentum=momentum)
    before = getattr(layer, "running_mean", None)
    seen = layer_step(layer, x, dy)
    exact, rounded = (reference_step(start, x, dy, exact=one) for one in (True, False))
    yield from compare(seen, exact, rounded, limit=limit, prefix=prefix)
    yield from _buffers(layer, before, start, prefix)
    counter = getattr(layer, "num_batches_tracked", None)
    if counter is not None:
        yield Observation(
            f"{prefix}num_batches_tracked", str(int(counter)), expected=str(start.counted + start.training)
        )


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Returns True if two tensors are of one kind and equal to the bit."""
    import torch

    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    first, second = (t.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for t in (one, other))
    return torch.equal(first, second)
