"""Family ``offsets``: channels far from zero, and constant ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import NumericsCase, Observation, Observe, Subject
from bnsuite.cases.checks.material import other_norms
from bnsuite.cases.checks.material.arithmetic import (
    StepResult,
    compare_blurred,
    jogged,
    layer_step,
    randomize_state,
    reference_step,
    state_of,
)
from bnsuite.cases.checks.material.outcomes import each_backend

if TYPE_CHECKING:
    import torch
    from torch import nn

RULE = "a mean far from zero costs no more than the resolution of the input"
#: Mean over standard deviation.
RATIOS = (10.0, 100.0, 2e3, 1e5)
#: The largest ratio at which a precision still holds some of the spread.
MAX_RATIOS = {"float32": math.inf, "float64": math.inf, "float16": 2e3, "bfloat16": 100.0}
SHAPES: dict[str, tuple[int, ...]] = {
    "batch_norm1d/n=32": (32, 7),
    "batch_norm1d/n=900": (9, 6, 100),
    "batch_norm2d/n=60": (4, 33, 3, 5),
    "batch_norm2d/n=8192": (8, 3, 32, 32),
    "batch_norm3d/n=480": (4, 6, 4, 5, 6),
}
#: Observations whose limits are how many places the sums of CPUs lose; how cuDNN and other kernels sum is not known.
FROM_CPU = ("*mean=100000std/*",)
OTHER_NORM_SHAPES = ((6, 4, 64), (3, 8, 9, 7))
#: Values of constant channels, none of them exact in binary; past 1e7 a float32 is a whole number.
CONSTANTS = {"values=to-1e4": (1e-3, 1.1, 100.1, -300.3, 10000.3), "values=from-1e7": (10000001.0, 33333330.0, 1e10)}
CONSTANT_SHAPES: dict[str, tuple[int, ...]] = {
    "batch_norm1d/n=16": (16, 3),
    "batch_norm1d/n=1000": (1000, 3),
    "batch_norm2d/n=16": (1, 5, 4, 4),
    "batch_norm2d/n=8192": (8, 3, 32, 32),
}


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 1e30


def _unit(value: float) -> float:
    """The distance from a float32 to the next."""
    return 2.0 ** (math.floor(math.log2(abs(value))) - 23)


def _spread(y: torch.Tensor, exact: torch.Tensor) -> float:
    """Returns the relative error of the standard deviation of a channel."""
    one, truth = (tensor.detach().double().movedim(1, 0).flatten(1).std(1) for tensor in (y, exact))
    worst = ((one - truth) / truth).abs().max().item()
    return _finite(worst)


def _shifted(
    subject: Subject, *, shape: tuple[int, ...], ratio: float, dtype: str, training: bool, channels_last: bool = False
) -> Iterator[Observation]:
    """Channels with means of either sign, each at `ratio` standard deviations from zero.

    The batch's variance goes into running_var as it is, beside no old one that would hide it.
    """
    import torch

    layer: Any = subject.batch_norm(len(shape) - 2 or 1, shape[1], momentum=1.0)
    randomize_state(layer).to(getattr(torch, dtype) if dtype == "float64" else torch.float32)
    layer.train(training)
    means = subject.randn(shape[1], mean=0.0, std=0.2, seed=5)
    means = (means + means.sign()) * ratio
    x = (subject.randn(*shape, mean=0.0, std=1.0) + means.view(-1, *[1] * (len(shape) - 2))).to(getattr(torch, dtype))
    with torch.no_grad():
        layer.running_mean.copy_(means)
        layer.running_var.fill_(1.3)
    dy = subject.randn(*shape, seed=1, dtype=dtype)
    if channels_last:
        x, dy = (one.contiguous(memory_format=torch.channels_last) for one in (x, dy))
    start = state_of(layer, momentum=1.0)
    seen = layer_step(layer, x, dy)
    exact, rounded = (reference_step(start, x, dy, exact=one) for one in (True, False))
    yield from compare_blurred(seen, exact, rounded, reference_step(start, jogged(x), dy, exact=True))
    if seen.y is not None and exact.y is not None:
        yield Observation("std of y", _spread(seen.y, exact.y), 1e-2)


def _other_norm_shifted(subject: Subject, *, kind: str, shape: tuple[int, ...], ratio: float) -> Iterator[Observation]:
    layer = other_norms.make(subject, kind, shape)
    x, dy = subject.randn(*shape, mean=ratio, std=1.0), subject.randn(*shape, seed=1)
    seen = layer_step(layer, x, dy)
    seen.running_mean = seen.running_var = None
    exact, rounded = (other_norms.reference_step(kind, layer, x, dy, exact=one) for one in (True, False))
    blurred = other_norms.reference_step(kind, layer, jogged(x), dy, exact=True)
    yield from compare_blurred(*(other_norms.flat(one) for one in (seen, exact, rounded, blurred)))
    if seen.y is not None and exact.y is not None:
        yield Observation("std of y", _spread(seen.y, exact.y), 1e-2)


def _four(subject: Subject, *, base: float, kind: str) -> Iterator[Observation]:
    """`base` + 0, 1, 2, 3, whose normal form is known: -1.34, -0.45, 0.45 and 1.34, to a hundredth and a place."""
    import torch

    steps = torch.arange(4.0, device=subject.device)
    if kind == other_norms.LAYER:
        layer: nn.Module = torch.nn.LayerNorm(4, elementwise_affine=False).to(subject.device)
        y = layer((base + steps).view(1, 4)).flatten()
    else:
        layer = subject.batch_norm(1, 2, affine=False)
        y = layer((base + steps).view(4, 1).expand(4, 2).contiguous())[:, 1]
    truth = (steps.double() - 1.5) / math.sqrt(1.25 + 1e-5)
    allowed = 1e-2 * truth.abs() + _unit(base + 3) / math.sqrt(1.25)
    # A word: half of what is allowed here is a quarter of it there, by how a CPU's kernels add up, and is no drift.
    error = _finite(((y.double() - truth).abs() / allowed).max().item())
    yield Observation("y", "right" if error <= 1 else f"{error:.3g} times what is allowed away", expected="right")


def _implied(subject: Subject, *, kind: str) -> Iterator[Observation]:
    """Runs 0.01 around 100 in rows of 32768: the variance implied by y and running_var."""
    x = subject.randn(32768, 4, mean=100.0, std=0.01)
    truth = x.double().var(0, correction=0)
    if kind == other_norms.LAYER:
        import torch

        y = torch.nn.functional.layer_norm(x.t().contiguous(), (32768,), eps=1e-5).t()
    else:
        layer: Any = subject.batch_norm(1, 4, affine=False, momentum=1.0)
        y = layer(x)
        stored = layer.running_var.double() * (32767 / 32768)
        yield Observation("running_var", ((stored - truth) / truth).abs().max().item(), 1e-3)
    # The variance of y is truth / (the layer's variance + eps).
    implied = truth / y.double().var(0, correction=0) - 1e-5
    worst = ((implied - truth) / truth).abs().max().item()
    yield Observation("implied variance", _finite(worst), 1e-3)


def _with_constant(
    subject: Subject, *, value: float, shape: tuple[int, ...], channels_last: bool
) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """A layer, an input whose second channel is `value` throughout, and an incoming gradient."""
    import torch

    layer = randomize_state(subject.batch_norm(len(shape) - 2 or 1, shape[1], momentum=1.0))
    x, dy = subject.randn(*shape), subject.randn(*shape, seed=1)
    x[:, 1] = value
    if channels_last:
        x, dy = (one.contiguous(memory_format=torch.channels_last) for one in (x, dy))
    return layer, x, dy


def _constant_output(
    subject: Subject, *, values: tuple[float, ...], shape: tuple[int, ...], channels_last: bool
) -> Iterator[Observation]:
    """The normal form of a constant channel is 0.

    It may be what a mean makes of it that is off by a quarter of float32's last place or, where there are many
    values, by four places; and 0.001 where a place is a whole number.
    """
    for value in values:
        layer, x, _ = _with_constant(subject, value=value, shape=shape, channels_last=channels_last)
        weight, bias = (one[1].item() for one in (layer.weight, layer.bias))
        places = 0.25 if _few(shape) else 4.0
        allowed = min(places * _unit(value) / math.sqrt(1e-5), _most(value)) + 1e-6
        y = layer(x).detach()[:, 1].double()
        yield Observation(f"normal form of {value:.9g}", _finite(((y - bias) / weight).abs().max().item()), allowed)


def _constant_rest(
    subject: Subject, *, values: tuple[float, ...], shape: tuple[int, ...], channels_last: bool
) -> Iterator[Observation]:
    """Gradients and statistics of a constant channel, to what a mean makes of them that is off by four places."""
    for value in values:
        layer, x, dy = _with_constant(subject, value=value, shape=shape, channels_last=channels_last)
        stored = x[:, 1].flatten()[0].item()
        seen: Any = layer_step(layer, x, dy)
        given = dy[:, 1].double()
        truth = (given - given.mean()) * layer.weight[1].item() / math.sqrt(1e-5)
        allowed = min(4 * _unit(value) / math.sqrt(1e-5), _most(value)) + 1e-6
        off = (seen.dx[:, 1].double() - truth).abs().max() / truth.abs().max()
        yield Observation(f"dx of {value:.9g}", _finite(off.item()), 1e-4 + allowed**2 / 2)
        off = seen.dweight[1].abs() / given.abs().sum()
        yield Observation(f"dweight of {value:.9g}", _finite(off.item()), allowed)
        off = abs(seen.running_mean[1].item() - stored) / _unit(value)
        yield Observation(f"places of the mean of {value:.9g}", _finite(off), 4.0)
        off = abs(seen.running_var[1].item()) ** 0.5 / _unit(value)
        yield Observation(f"places of the deviation of {value:.9g}", _finite(off), 4.1)


def _most(value: float) -> float:
    """Returns the limit of a normal form that should be 0: at most 1."""
    return 1e-3 if abs(value) >= 1e7 else 1.0


def _few(shape: tuple[int, ...]) -> bool:
    return math.prod(shape) // shape[1] <= 16


def _one_off(subject: Subject, *, value: float, shape: tuple[int, ...]) -> Iterator[Observation]:
    """A channel with a single value a place above the rest, `value`."""
    layer = subject.batch_norm(len(shape) - 2 or 1, shape[1], affine=False)
    x = subject.randn(*shape)
    x[:, 1] = value
    x[-1:, 1].flatten()[:1].add_(_unit(value))
    exact: Any = reference_step(state_of(layer), x, None, exact=True)
    off = (layer(x).double() - exact.y)[:, 1].abs().max().item()
    yield Observation("y", _finite(off), 4 * _unit(value) / math.sqrt(1e-5) + 1e-6)


def _with_dirty_memory(subject: Subject, *, shape: tuple[int, ...]) -> Iterator[Observation]:
    """Constant channels after others have left numbers of every kind in memory that is used again."""
    import torch

    channels = shape[1]
    layer = randomize_state(subject.batch_norm(len(shape) - 2 or 1, channels))
    state = {name: one.clone() for name, one in layer.state_dict().items()}
    x, dy = subject.randn(*shape), subject.randn(*shape, seed=1)
    x[:, ::3] = 4.0
    first: Any = None
    for filler in (0.0, 1.0, -1e30, math.inf, math.nan):
        for size in (channels, 4 * channels, x.numel()):
            left = [torch.full((size,), filler, device=subject.device) for _ in range(8)]
            del left
        layer.load_state_dict(state)
        seen: Any = layer_step(layer, x, dy)
        first = first or seen
        same = all(torch.equal(getattr(seen, part.name), getattr(first, part.name)) for part in fields(StepResult))
        yield Observation(f"after {filler:g}", "the same" if same else "changed", expected="the same")
    off = (first.y[:, ::3] - state["bias"].view(-1, *[1] * (len(shape) - 2))[::3]).abs().max().item()
    yield Observation("y of the constant ones", _finite(off), 4 * _unit(4.0) / math.sqrt(1e-5))


def _case(name: str, observers: Mapping[str, Observe], **options: Any) -> NumericsCase:
    options = {"rule": RULE, "quick": False, **options}
    return NumericsCase(group="offsets", name=name, observe=partial(each_backend, observers=observers), **options)


def _means() -> Iterator[NumericsCase]:
    for (size, shape), training in product(SHAPES.items(), (True, False)):
        for layout, (dtype, most) in product(
            ("contiguous", "channels-last") if len(shape) == 4 else ("contiguous",), MAX_RATIOS.items()
        ):
            observe = partial(
                _shifted, shape=shape, dtype=dtype, training=training, channels_last=layout == "channels-last"
            )
            ratios = RATIOS[-1:] if size == "batch_norm2d/n=8192" else [one for one in RATIOS if one <= most]
            observers = {f"mean={ratio:g}std": partial(observe, ratio=ratio) for ratio in ratios}
            flat = size == "batch_norm2d/n=60"
            if flat or dtype == "float32":
                yield _case(
                    f"{size}/{'train' if training else 'eval'}/{dtype}/{layout}",
                    observers,
                    rows=(("N29",) if dtype in {"float16", "bfloat16"} else ("N27",)) if training else (),
                    quick=flat and training and layout == "contiguous",
                    from_cpu=FROM_CPU,
                )


def _means_of_other_norms() -> Iterator[NumericsCase]:
    for kind, shape in product(other_norms.CENTRED, OTHER_NORM_SHAPES):
        observe = partial(_other_norm_shifted, kind=kind, shape=shape)
        observers = {f"mean={ratio:g}std": partial(observe, ratio=ratio) for ratio in RATIOS[1:]}
        name = f"{kind}/{'x'.join(map(str, shape))}"
        yield _case(name, observers, rows=("N27",), torch_only=True, from_cpu=FROM_CPU)
    for kind in ("batch_norm1d", other_norms.LAYER):
        options: dict[str, Any] = {
            "rule": "a small variance far from zero is kept",
            "torch_only": kind == other_norms.LAYER,
        }
        yield _case(f"{kind}/variance=1e-4/mean=100", {"": partial(_implied, kind=kind)}, rows=("N28",), **options)
        observers = {f"from={base:.0f}": partial(_four, base=base, kind=kind) for base in (4e4, 8e4, 1e6)}
        yield _case(f"{kind}/four-whole-numbers", observers, rows=("N30",), quick=True, version=2, **options)


def _constants() -> Iterator[NumericsCase]:
    for (size, shape), (group, values) in product(CONSTANT_SHAPES.items(), CONSTANTS.items()):
        exact = min(values) >= 1e7
        if exact and not _few(shape):
            continue  # where two-pass float32 arithmetic has no exact mean either
        rows = ("N26",) if exact else ("N25",) if _few(shape) else ()
        for layout in ("contiguous", "channels-last") if len(shape) == 4 else ("contiguous",):
            output, rest = (
                partial(observe, values=values, shape=shape, channels_last=layout == "channels-last")
                for observe in (_constant_output, _constant_rest)
            )
            name = f"{size}/{layout}/constant/{group}"
            constant: dict[str, Any] = {"from_cpu": ("*",)}
            yield _case(f"{name}/y", {"": output}, rows=rows, rule="a constant channel becomes its bias", **constant)
            yield _case(
                f"{name}/gradients+statistics",
                {"": rest},
                rows=("N33",),
                rule="gradients and statistics of a constant channel are its own",
                quick=size == "batch_norm1d/n=16" and not exact,
                **constant,
            )
    for size, shape in {"1d/n=4": (4, 3), "2d/n=60": (4, 3, 3, 5)}.items():
        yield _case(
            f"batch_norm{size}/one-off",
            {f"{value:g}": partial(_one_off, value=value, shape=shape) for value in (1.1, 100.1, 10000.3)},
            rule="a channel that is constant but for one value costs no more than the resolution of the input",
            from_cpu=("*",),
        )
    for shape in ((64, 512), (4, 9, 5, 6)):
        yield _case(
            f"batch_norm{len(shape) // 2}d/dirty-memory",
            {"": partial(_with_dirty_memory, shape=shape)},
            rows=("N33", "N34"),
            rule="constant channels give the same result whatever ran before",
            quick=True,
            from_cpu=("*y of the constant ones",),
        )


def cases() -> Iterator[NumericsCase]:
    yield from _means()
    yield from _means_of_other_norms()
    yield from _constants()
