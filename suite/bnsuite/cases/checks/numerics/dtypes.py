"""Family ``dtypes``: every precision of input, parameters and buffers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases import gpu_errors
from bnsuite.cases.checks.case import BOUNDLESS, NumericsCase, Observation, Observe, Subject
from bnsuite.cases.checks.material import other_norms
from bnsuite.cases.checks.material.arithmetic import (
    LIMIT,
    compare,
    layer_step,
    places,
    randomize_state,
    reference_step,
    state_of,
    step_against_float64,
)
from bnsuite.cases.checks.material.layouts import lay
from bnsuite.cases.checks.material.outcomes import each_backend, is_taken

if TYPE_CHECKING:
    import torch
    from torch import nn

HALVES = ("float16", "bfloat16")
#: Precisions of the input and of the parameters and buffers that must work.
PAIRS = (
    ("float16", "float16"),
    ("float16", "float32"),
    ("bfloat16", "bfloat16"),
    ("bfloat16", "float32"),
    ("float32", "float32"),
    ("float64", "float64"),
)
#: Pairs that a layer may refuse: input, parameters, buffers.
ODD = (
    ("float64", "float32", "float32"),
    ("float32", "float64", "float64"),
    ("float32", "float16", "float16"),
    ("float32", "bfloat16", "bfloat16"),
    ("float16", "bfloat16", "bfloat16"),
    ("float16", "float64", "float64"),
    ("float16", "float16", "float32"),
    ("bfloat16", "bfloat16", "float32"),
    ("bfloat16", "float32", "bfloat16"),
)
SHAPES: dict[str, tuple[int, ...]] = {
    "batch_norm1d/nc": (33, 9),
    "batch_norm1d/ncl": (5, 9, 17),
    "batch_norm2d/nchw": (4, 17, 3, 5),
    "batch_norm2d/nchw-large": (8, 64, 14, 14),
    "batch_norm3d/ncdhw": (2, 5, 3, 4, 5),
}


def _cast(layer: nn.Module, parameters: str, buffers: str | None = None) -> nn.Module:
    """`layer` with parameters, and buffers but the counter, in other precisions."""
    import torch

    layer.to(getattr(torch, parameters))
    for name in ("running_mean", "running_var"):
        found = getattr(layer, name, None)
        if found is not None and buffers is not None:
            setattr(layer, name, found.to(getattr(torch, buffers)))
    return layer


def _limit(dtype: str) -> float:
    """Returns the limit of errors; float64 has no more exact reference."""
    return 1000.0 if dtype == "float64" else LIMIT


def _kinds(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor, prefix: str = "") -> Iterator[Observation]:
    """The precisions of what a step gives and keeps: the input's, each parameter's, each buffer's own."""

    def said(tensor: torch.Tensor) -> str:
        return str(tensor.dtype).removeprefix("torch.")

    before = {name: said(one) for name, one in layer.named_buffers()}
    seen = layer_step(layer, x, dy)
    for part in ("y", "dx"):
        yield Observation(f"{prefix}dtype of {part}", said(getattr(seen, part)), expected=said(x))
    for name, parameter in layer.named_parameters():
        grad = "none" if parameter.grad is None else said(parameter.grad)
        yield Observation(f"{prefix}dtype of d{name}", grad, expected=said(parameter))
    for name, one in layer.named_buffers():
        yield Observation(f"{prefix}dtype of {name}", said(one), expected=before[name])


def _step(
    subject: Subject, *, shape: tuple[int, ...], dtype: str, parameters: str, training: bool, layout: str
) -> Iterator[Observation]:
    """A step, its precisions and, where a half precision is only the input's, how far single outputs are off."""
    layer = _cast(randomize_state(subject.batch_norm(len(shape) - 2 or 1, shape[1])), parameters).train(training)
    x = lay(subject.randn(*shape, dtype=dtype), layout)
    dy = lay(subject.randn(*shape, seed=1, dtype=dtype), layout)
    if dtype in HALVES and parameters == "float32":
        state = {name: one.clone() for name, one in layer.state_dict().items()}
        exact: Any = reference_step(state_of(layer), x, None, exact=True)
        yield Observation("places of y", places(layer(x).detach(), exact.y), 1.0)
        layer.load_state_dict(state)
    yield from step_against_float64(layer, x, dy, limit=_limit(dtype))
    yield from _kinds(layer, x, dy)


def _odd(subject: Subject, *, dtype: str, parameters: str, buffers: str) -> Iterator[Observation]:
    """Checks a pair of precisions, which may be refused."""
    for training in (True, False):
        mode = "train" if training else "eval"
        layer = _cast(randomize_state(subject.batch_norm(2, 9)), parameters, buffers).train(training)
        shape = (4, 9, 3, 5)
        x, dy = subject.randn(*shape, dtype=dtype), subject.randn(*shape, seed=1, dtype=dtype)
        try:
            layer(x).backward(dy)
        except RuntimeError as error:
            gpu_errors.note(error)
            yield Observation(mode, "refused")
            continue
        yield Observation(mode, "taken")
        yield from step_against_float64(layer, x, dy, prefix=f"{mode}/")


def _two(subject: Subject, *, dtype: str, parameters: str) -> Iterator[Observation]:
    """Two values a channel, whose normal forms are 1 and -1 but for eps."""
    import torch

    layer = _cast(subject.batch_norm(1, 3), parameters)
    x = torch.tensor([[1.3047, 100.5, -0.01], [0.8789, 95.25, 0.02]]).to(subject.device, getattr(torch, dtype))
    exact: Any = reference_step(state_of(layer), x, None, exact=True)
    yield Observation("places of y", places(layer(x).detach(), exact.y), 2.0)


def _autocast(
    subject: Subject, *, dtype: str, affine: bool, track_running_stats: bool, training: bool
) -> Iterator[Observation]:
    """Runs the output of a convolution under autocast, and a float32 input."""
    import torch

    shape = (4, 9, 5, 6)
    for given in (dtype, "float32"):
        layer = randomize_state(subject.batch_norm(2, 9, affine=affine, track_running_stats=track_running_stats))
        layer.train(training)
        x, dy = subject.randn(*shape, dtype=given), subject.randn(*shape, seed=1, dtype=given)
        start = state_of(layer)
        with torch.autocast(torch.device(subject.device).type, dtype=getattr(torch, dtype)):
            seen: Any = layer_step(layer, x, dy)
        exact, rounded = (reference_step(start, x, dy, exact=one) for one in (True, False))
        yield from compare(seen, exact, rounded, prefix=f"{given}/")
        yield Observation(f"{given}/dtype of y", str(seen.y.dtype), expected=f"torch.{given}")


def _drift(subject: Subject, *, dtype: str, parameters: str) -> Iterator[Observation]:
    """500 steps with momentum 0.001: in a half precision, what each would add is less than a place."""
    import torch

    layer: Any = _cast(subject.batch_norm(1, 4, momentum=1e-3), parameters)
    mean, var = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    with torch.no_grad():
        for step in range(500):
            x = subject.randn(16, 4, seed=step, mean=1.5, std=2.0, dtype=dtype)
            layer(x)
            wide = x.double().cpu()
            mean, var = 0.999 * mean + 0.001 * wide.mean(0), 0.999 * var + 0.001 * wide.var(0)
    for name, truth in (("running_mean", mean), ("running_var", var)):
        off = ((getattr(layer, name).double().cpu() - truth) / truth).abs().max().item()
        if parameters == "float32":
            yield Observation(name, min(BOUNDLESS, off), 1e-3)
        else:
            yield Observation(name, "kept" if off < 2e-2 else "lost")


def _other_norm(
    subject: Subject, *, kind: str, shape: tuple[int, ...], dtype: str, parameters: str
) -> Iterator[Observation]:
    layer = _cast(other_norms.make(subject, kind, shape), parameters)
    x, dy = subject.randn(*shape, dtype=dtype), subject.randn(*shape, seed=1, mean=0.1, std=0.5, dtype=dtype)
    taken = is_taken(layer, x)
    yield Observation("outcome", "taken" if taken else "refused")
    if not taken:
        return
    yield from other_norms.step_against_float64(kind, layer, x, dy, limit=_limit(dtype))
    yield from _kinds(layer, x, dy)


def _case(name: str, observers: Mapping[str, Observe], **options: Any) -> NumericsCase:
    options = {"quick": False, **options}
    return NumericsCase(group="dtypes", name=name, observe=partial(each_backend, observers=observers), **options)


def _steps() -> Iterator[NumericsCase]:
    for (where, shape), (dtype, parameters), training in product(SHAPES.items(), PAIRS, (True, False)):
        mixed, half, image = dtype != parameters, dtype in HALVES, len(shape) == 4
        if where.endswith("large") and not half:
            continue
        observe = partial(_step, shape=shape, dtype=dtype, parameters=parameters, training=training)
        yield _case(
            f"{where}/{'train' if training else 'eval'}/{dtype}/parameters={parameters}",
            {
                layout: partial(observe, layout=layout)
                for layout in (("contiguous", "channels-last") if len(shape) > 3 else ("contiguous",))
            },
            rule="every precision is accepted, computed in at least float32, and kept",
            rows=(
                *(("A24",) if mixed else ()),
                *(("N36",) if mixed and training and image and dtype == "bfloat16" else ()),
                *(("N02",) if half and not training and image else ()),
            ),
            quick=where == "batch_norm2d/nchw" and mixed,
        )
    for dtype, parameters in PAIRS[:4]:
        yield _case(
            f"batch_norm1d/train/{dtype}/parameters={parameters}/two-values",
            {"": partial(_two, dtype=dtype, parameters=parameters)},
            rule="single outputs differ by at most two units in the last place",
            rows=("N37",) if dtype == "bfloat16" else (),
            quick=True,
        )
        yield _case(
            f"batch_norm1d/train/{dtype}/parameters={parameters}/500-steps",
            {"": partial(_drift, dtype=dtype, parameters=parameters)},
            rule="running statistics in float32 keep small updates",
            rows=("T22",) if parameters == "float32" else (),
        )


def _outcomes() -> Iterator[NumericsCase]:
    for dtype, parameters, buffers in ODD:
        yield _case(
            f"batch_norm2d/{dtype}/parameters={parameters}/buffers={buffers}",
            {"": partial(_odd, dtype=dtype, parameters=parameters, buffers=buffers)},
            rule="an accepted mixture of precisions gives exact results, and a refused one stays refused",
        )
    for dtype, training in product(HALVES, (True, False)):
        observe = partial(_autocast, dtype=dtype, training=training)
        yield _case(
            f"batch_norm2d/{'train' if training else 'eval'}/autocast={dtype}",
            {
                f"affine={affine}/track_running_stats={track}".lower(): partial(
                    observe, affine=affine, track_running_stats=track
                )
                for affine, track in product((True, False), repeat=2)
            },
            rule="autocast accepts every setting, and costs no precision",
            rows=("A23",),
            quick=training,
        )
    for kind, (dtype, parameters) in product(other_norms.KINDS, PAIRS):
        observe = partial(_other_norm, kind=kind, dtype=dtype, parameters=parameters)
        yield _case(
            f"{kind}/{dtype}/parameters={parameters}",
            {"x".join(map(str, shape)): partial(observe, shape=shape) for shape in ((3, 6, 20), (2, 4, 128, 128))},
            rule="every accepted precision is computed in at least float32",
            rows=("N40",) if kind == other_norms.INSTANCE and dtype == "float16" else (),
            torch_only=True,
        )


def cases() -> Iterator[NumericsCase]:
    yield from _steps()
    yield from _outcomes()
