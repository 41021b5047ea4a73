"""Family ``reference``: results against float64 over magnitudes, sizes, settings and requested gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases import precision
from bnsuite.cases.checks.case import NumericsCase, Observation, Observe, Subject
from bnsuite.cases.checks.material import other_norms
from bnsuite.cases.checks.material.arithmetic import (
    LIMIT,
    StepResult,
    error_ratio,
    randomize_state,
    reference_step,
    state_of,
    step_against_float64,
)
from bnsuite.cases.checks.material.outcomes import each_backend

if TYPE_CHECKING:
    import torch
    from torch import nn

RULE = "outputs, gradients and statistics are as close to float64 as two-pass float32 arithmetic"
#: Inputs, (N, C, ...), by a name that has the number of values per channel.
SHAPES: dict[str, tuple[int, ...]] = {
    "1d/n=2": (2, 7),
    "1d/n=33": (33, 65),
    "1d/n=700": (700, 5),
    "1d/n=300": (6, 9, 50),
    "2d/n=4": (1, 6, 2, 2),
    "2d/n=60": (4, 65, 3, 5),
    "2d/n=1024": (1, 3, 32, 32),
    "2d/n=100000": (40, 2, 50, 50),
    "3d/n=480": (4, 6, 4, 5, 6),
}
STDS = (1e-3, 1e-2, 0.3, 3.0, 100.0, 1e3)
EPSS = (0.0, 1e-12, 1e-6, 1e-5, 1e-3)
#: The tensors whose gradients are requested.
SUBSETS = tuple(
    tuple(part for part, taken in zip(("x", "weight", "bias"), bits, strict=True) if taken)
    for bits in product((True, False), repeat=3)
    if any(bits)
)


def _train(subject: Subject, *, shape: tuple[int, ...], std: float, channels_last: bool) -> Iterator[Observation]:
    """A training step. All of the batch's variance goes into running_var, where a small one would else be lost."""
    import torch

    layer = randomize_state(subject.batch_norm(len(shape) - 2 or 1, shape[1], momentum=1.0))
    x, dy = subject.randn(*shape, mean=std / 4, std=std), subject.randn(*shape, seed=1)
    if channels_last:
        x, dy = (one.contiguous(memory_format=torch.channels_last) for one in (x, dy))
    yield from step_against_float64(layer, x, dy, momentum=1.0)


def _many(subject: Subject, *, count: int, std: float) -> Iterator[Observation]:
    """A training step with `count` values in the one channel."""
    layer = randomize_state(subject.batch_norm(2, 1, momentum=1.0))
    side = 512
    shape = (count // side**2, 1, side, side)
    yield from step_against_float64(
        layer, subject.randn(*shape, mean=std / 4, std=std), subject.randn(*shape, seed=1), momentum=1.0
    )


def _eps(subject: Subject, *, dimensions: int, eps: float, training: bool) -> Iterator[Observation]:
    """Channels whose variance is far above, near and far under most values of eps."""
    import torch

    shape = (16, 9, *[5] * dimensions) if dimensions > 1 else (80, 9)
    scale = torch.logspace(-3, 2, 9, device=subject.device).view(-1, *[1] * (len(shape) - 2))
    x = subject.randn(*shape) * scale
    layer = randomize_state(subject.batch_norm(dimensions, shape[1], eps=eps, momentum=1.0)).train(training)
    with torch.no_grad():
        for name, power in (("running_mean", 1), ("running_var", 2)):
            getattr(layer, name).mul_(scale.flatten() ** power / 5)
    yield from step_against_float64(layer, x, subject.randn(*shape, seed=1), eps=eps, momentum=1.0)


def _spread(subject: Subject, *, affine: bool) -> Iterator[Observation]:
    """Evaluation with stored variances from 1e-8 to 1e8."""
    import torch

    layer: Any = randomize_state(subject.batch_norm(2, 17, affine=affine)).eval()
    layer.running_var.copy_(torch.logspace(-8, 8, 17))
    shape = (4, 17, 5, 6)
    yield from step_against_float64(layer, subject.randn(*shape), subject.randn(*shape, seed=1))


def _settings(
    subject: Subject, *, dimensions: int, affine: bool, track_running_stats: bool, training: bool
) -> Iterator[Observation]:
    shape = (6, 5, *[4] * dimensions)
    layer = subject.batch_norm(dimensions, 5, affine=affine, track_running_stats=track_running_stats)
    randomize_state(layer).train(training)
    yield from step_against_float64(layer, subject.randn(*shape), subject.randn(*shape, seed=1))


def _of_subset(layer: Any, x: torch.Tensor, dy: torch.Tensor, asked: tuple[str, ...]) -> StepResult:
    """Returns the results of a step in which gradients of some of x, weight and bias are requested."""
    named = other_norms.affine_of(layer)
    for name, parameter in named.items():
        parameter.grad = None
        parameter.requires_grad_(name in asked)
    leaf = x.detach().clone().requires_grad_("x" in asked)
    y = layer(leaf)
    y.backward(dy)
    return StepResult(y=y.detach(), dx=leaf.grad, **{f"d{name}": one.grad for name, one in named.items()})


def _worst(
    found: list[StepResult], exact: StepResult, rounded: StepResult, asked: tuple[str, ...]
) -> Iterator[Observation]:
    """Yields the worst of several equal steps: uninitialized memory may differ each time."""
    for part, name in (("dx", "x"), ("dweight", "weight"), ("dbias", "bias")):
        grads = [grad for seen in found if (grad := getattr(seen, part)) is not None]
        yield Observation(
            f"{part} given", f"{len(grads)} of {len(found)}", expected=f"{len(found) * (name in asked)} of {len(found)}"
        )
        if grads:
            truth, two_pass = getattr(exact, part), getattr(rounded, part)
            yield Observation(part, max(error_ratio(grad, truth, two_pass) for grad in grads), LIMIT)


def _subset(
    subject: Subject, *, shape: tuple[int, ...], asked: tuple[str, ...], training: bool
) -> Iterator[Observation]:
    layer = randomize_state(subject.batch_norm(len(shape) - 2 or 1, shape[1])).train(training)
    x, dy = subject.randn(*shape), subject.randn(*shape, seed=1)
    start = state_of(layer)
    exact, rounded = (reference_step(start, x, dy, exact=one) for one in (True, False))
    yield from _worst([_of_subset(layer, x, dy, asked) for _ in range(3)], exact, rounded, asked)


def _other_norm_subset(
    subject: Subject, *, kind: str, shape: tuple[int, ...], asked: tuple[str, ...]
) -> Iterator[Observation]:
    layer = other_norms.make(subject, kind, shape)
    x, dy = subject.randn(*shape), subject.randn(*shape, seed=1)
    found = [other_norms.flat(_of_subset(layer, x, dy, asked)) for _ in range(3)]
    for parameter in other_norms.affine_of(layer).values():
        parameter.requires_grad_()
    exact, rounded = (
        other_norms.flat(other_norms.reference_step(kind, layer, x, dy, exact=one)) for one in (True, False)
    )
    yield from _worst(found, exact, rounded, asked)


def _other_norm(subject: Subject, *, kind: str, shape: tuple[int, ...], std: float) -> Iterator[Observation]:
    layer = other_norms.make(subject, kind, shape)
    x, dy = subject.randn(*shape, mean=std / 4, std=std), subject.randn(*shape, seed=1)
    yield from other_norms.step_against_float64(kind, layer, x, dy)


def _composite(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Two-pass batch norm of (N, C, ...) by basic operations."""
    axes = [axis for axis in range(x.dim()) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
    centred = x - x.mean(axes, keepdim=True)
    unit = centred / (centred.square().mean(axes, keepdim=True) + 1e-5).sqrt()
    return unit * weight.view(shape) + bias.view(shape)


def _block(block: str, dtype: torch.dtype, device: str) -> tuple[nn.Module, nn.Module, tuple[int, ...]]:
    """Returns the layers before and after batch norm of 8 channels, and the shape of the input."""
    import torch
    from torch import nn

    before: nn.Module
    after: nn.Module
    shape: tuple[int, ...]
    if block == "conv":
        before, after, shape = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Conv2d(8, 4, 3), (6, 3, 10, 9)
    else:
        before, after, shape = nn.Conv1d(3, 8, 3, bias=False), nn.LSTM(8, 5, batch_first=True), (6, 3, 14)
    generator = torch.Generator().manual_seed(3)
    for parameter in (*before.parameters(), *after.parameters()):
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return before.to(device, dtype), after.to(device, dtype), shape


def _in_block(subject: Subject, *, block: str) -> Iterator[Observation]:
    """Runs batch norm between other layers, whose gradient may be in any layout.

    The block is computed with the layer, with the composite in its place, and with the composite in float64.
    """
    import torch

    layer: Any = randomize_state(subject.batch_norm(2 if block == "conv" else 1, 8))

    def grads(dtype: torch.dtype, *, composed: bool) -> dict[str, torch.Tensor]:
        before, after, shape = _block(block, dtype, subject.device)
        x = subject.randn(*shape).to(dtype).requires_grad_()
        weight, bias = layer.weight, layer.bias
        if composed:
            weight, bias = (one.detach().to(dtype).requires_grad_() for one in (weight, bias))
        middle = before(x)
        middle = _composite(middle, weight, bias) if composed else layer(middle)
        y = after(middle) if block == "conv" else after(middle.transpose(1, 2))[0]
        wanted = {"dx": x, "dweight": weight, "dbias": bias, "dconv": next(before.parameters())}
        given = torch.autograd.grad(y, list(wanted.values()), subject.randn(*y.shape, seed=1).to(dtype))
        return {name: grad if name == "dx" else grad.flatten() for name, grad in zip(wanted, given, strict=True)}

    with precision.cudnn(allow_tf32=False):
        seen = grads(torch.float32, composed=False)
        rounded, exact = (grads(dtype, composed=True) for dtype in (torch.float32, torch.float64))
    for name, one in seen.items():
        yield Observation(name, error_ratio(one, exact[name], rounded[name]), LIMIT)


def _case(name: str, observers: Mapping[str, Observe], **options: Any) -> NumericsCase:
    options = {"rule": RULE, "quick": False, **options}
    return NumericsCase(group="reference", name=name, observe=partial(each_backend, observers=observers), **options)


def _magnitudes() -> Iterator[NumericsCase]:
    rows = ("N19", "N24", "N82")
    for size, shape in SHAPES.items():
        for layout in ("contiguous", "channels-last") if len(shape) == 4 else ("contiguous",):
            observe = partial(_train, shape=shape, channels_last=layout == "channels-last")
            large = size == "2d/n=100000"
            observers = {f"std={std:g}": partial(observe, std=std) for std in STDS if not large or std in {1e-2, 100.0}}
            yield _case(f"batch_norm{size}/train/{layout}", observers, rows=rows, quick=size in {"1d/n=33", "2d/n=60"})
    for power in (20, 22):
        observers = {f"std={std:g}": partial(_many, count=2**power, std=std) for std in (1e-3, 1e3)}
        yield _case(f"batch_norm2d/n=2.{power}/train/contiguous", observers, rows=("N19",))


def _settled() -> Iterator[NumericsCase]:
    for dimensions, training in product((1, 2), (True, False)):
        # Torch has refused to train with an eps of 0 since 2.14.
        given = [eps for eps in EPSS if eps or not training]
        observers = {f"eps={eps:g}": partial(_eps, dimensions=dimensions, eps=eps, training=training) for eps in given}
        yield _case(
            f"batch_norm{dimensions}d/{'train' if training else 'eval'}/eps",
            observers,
            rule="the layer computes with the eps it was given",
            rows=("N64",) if training else (),
            quick=dimensions == 2,
        )
    observers = {f"affine={affine}".lower(): partial(_spread, affine=affine) for affine in (True, False)}
    yield _case("batch_norm2d/eval/running_var=1e-8..1e8", observers, quick=True)
    for dimensions, training in product((1, 2, 3), (True, False)):
        observers = {
            f"affine={affine}/track_running_stats={track}".lower(): partial(
                _settings, dimensions=dimensions, affine=affine, track_running_stats=track, training=training
            )
            for affine, track in product((True, False), repeat=2)
        }
        name = f"batch_norm{dimensions}d/{'train' if training else 'eval'}/settings"
        yield _case(name, observers, rows=("N82",), quick=dimensions == 2)


def _asked() -> Iterator[NumericsCase]:
    options: dict[str, Any] = {"rule": "a gradient does not depend on which others are requested", "rows": ("D02",)}
    for shape, training in product(((16, 9), (4, 9, 5, 6)), (True, False)):
        observe = partial(_subset, shape=shape, training=training)
        observers = {"+".join(asked): partial(observe, asked=asked) for asked in SUBSETS}
        name = f"batch_norm{len(shape) // 2}d/{'train' if training else 'eval'}/asked"
        yield _case(name, observers, quick=training and len(shape) == 2, **options)
    for kind, shape in product(other_norms.KINDS, ((16, 8, 6), (4, 8, 5, 6))):
        has_bias = kind != other_norms.RMS
        observers = {
            "+".join(asked): partial(_other_norm_subset, kind=kind, shape=shape, asked=asked)
            for asked in SUBSETS
            if has_bias or "bias" not in asked
        }
        yield _case(f"{kind}/{len(shape) - 2}d/asked", observers, torch_only=True, **options)


def _others() -> Iterator[NumericsCase]:
    for block in ("conv", "recurrent"):
        yield _case(
            f"block={block}",
            {"": partial(_in_block, block=block)},
            rule="gradients through a block are as exact as with batch norm made of basic operations",
            rows=("N23",) if block == "conv" else ("N14",),
            quick=block == "conv",
        )
    for count in (1, 5, 64, 1000):
        observe = partial(_other_norm, kind=other_norms.LAYER, std=3.0)
        observers = {f"size={size}": partial(observe, shape=(count, size)) for size in (8, 65, 1024)}
        yield _case(f"layer_norm/n={count}", observers, rows=("N66",), torch_only=True, quick=count == 64)
    for kind, shape in product(other_norms.KINDS, ((3, 8, 40), (5, 6, 9, 7), (2, 64, 32, 32), (2, 4, 3, 4, 5))):
        observers = {f"std={std:g}": partial(_other_norm, kind=kind, shape=shape, std=std) for std in STDS[::2]}
        rows = ("N81",) if kind == other_norms.GROUP else ()
        yield _case(f"{kind}/{'x'.join(map(str, shape))}", observers, rows=rows, torch_only=True)


def cases() -> Iterator[NumericsCase]:
    yield from _magnitudes()
    yield from _settled()
    yield from _asked()
    yield from _others()
