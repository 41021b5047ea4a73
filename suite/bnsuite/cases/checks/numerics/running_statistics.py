"""Family ``running-statistics``: running statistics and the counter."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import NumericsCase, Observation, Observe, Subject
from bnsuite.cases.checks.material.arithmetic import (
    LIMIT,
    LayerState,
    StepResult,
    error_ratio,
    randomize_state,
    reference_step,
    state_of,
    step_against_float64,
)
from bnsuite.cases.checks.material.layouts import part_of_larger
from bnsuite.cases.checks.material.other_norms import instance_norm
from bnsuite.cases.checks.material.settings import KINDS, Kind, Setting
from bnsuite.cases.checks.material.states import BUFFERS, STATISTICS, buffer_snapshot

if TYPE_CHECKING:
    import torch
    from torch import nn


def _change(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], prefix: str = "") -> Iterator[Observation]:
    for name, value in before.items():
        now = after[name]
        same = now.dtype == value.dtype and bool((now == value).all())
        yield Observation(f"{prefix}{name}", "unchanged" if same else "changed", expected="unchanged")


def _kind_of(layer: nn.Module, dtype: str = "float32") -> Iterator[Observation]:
    """Checks that buffers have their dtype and hold no graph, which would grow with every step."""
    wanted = dict.fromkeys(STATISTICS, dtype) | {"num_batches_tracked": "int64"}
    for name in BUFFERS:
        found = getattr(layer, name, None)
        if found is not None:
            yield Observation(f"{name}, dtype", str(found.dtype).removeprefix("torch."), expected=wanted[name])
            held = found.requires_grad or found.grad_fn is not None
            yield Observation(f"{name}, graph", "held" if held else "none", expected="none")


def _step(subject: Subject, *, setting: Setting) -> Iterator[Observation]:
    """A step forward and back, held against float64 in all its parts."""
    layer, x = setting.layer(subject), setting.x(subject)
    dy = subject.randn(*x.shape, seed=1, dtype=setting.dtype)
    with setting.backend():
        yield from list(step_against_float64(layer, x, dy, momentum=setting.momentum))
    yield from _kind_of(layer, "float64" if setting.dtype == "float64" else "float32")


def _after(start: LayerState, batches: Sequence[torch.Tensor], *, exact: bool) -> StepResult:
    """The statistics after training steps on `batches`."""
    seen = StepResult()
    for x in batches:
        seen = reference_step(start, x, None, exact=exact)
        start = replace(start, running_mean=seen.running_mean, running_var=seen.running_var, counted=start.counted + 1)
    return seen


def _against(
    layer: nn.Module, start: LayerState, batches: Sequence[torch.Tensor], prefix: str = ""
) -> Iterator[Observation]:
    """The statistics of `layer`, which began at `start`, after it was trained on `batches`."""
    exact, rounded = (_after(start, batches, exact=one) for one in (True, False))
    for name in STATISTICS:
        yield Observation(
            f"{prefix}{name}", error_ratio(getattr(layer, name), getattr(exact, name), getattr(rounded, name)), LIMIT
        )
    counter = getattr(layer, "num_batches_tracked", None)
    if counter is not None:
        yield Observation(f"{prefix}num_batches_tracked", str(int(counter)), expected=str(start.counted + len(batches)))


def _sequence(subject: Subject, *, setting: Setting) -> Iterator[Observation]:
    """Batches of different sizes and extents, with evaluations between them that count for nothing."""
    layer = setting.layer(subject)
    start = state_of(layer, momentum=setting.momentum)
    shape = setting.kind.shape
    batches = [
        replace(setting, shape=(n, shape[1], *(max(1, extent - cut) for extent in shape[2:])), mean=n / 2.0).x(
            subject, seed
        )
        for seed, (n, cut) in enumerate(((4, 0), (2, 1), (9, 0), (3, 2), (2, 0), (17, 1)))
    ]
    with setting.backend():
        for x in batches:
            layer.train()(x)
            layer.eval()(x)
    yield from _against(layer, start, batches)
    yield from _kind_of(layer, "float64" if setting.dtype == "float64" else "float32")


def _evaluation(subject: Subject, *, setting: Setting, trains: bool) -> Iterator[Observation]:
    """Evaluation with a step back leaves every bit of the statistics, also if nothing but the input can be trained."""
    layer = setting.layer(subject).eval()
    layer.requires_grad_(trains)
    before = buffer_snapshot(layer)
    with setting.backend():
        for seed in range(3):
            x = setting.x(subject, seed).requires_grad_()
            y = layer(x)
            y.backward(subject.randn(*y.shape, seed=9, dtype=setting.dtype))
    yield from _change(before, buffer_snapshot(layer))


def _several(subject: Subject, *, setting: Setting, how: str = "", rounds: int = 1) -> Iterator[Observation]:
    """Ten batches again and again, and nothing asks for gradients if `how` says so."""
    import torch

    layer = setting.layer(subject)
    start = state_of(layer, momentum=setting.momentum)
    batches = [setting.x(subject, seed) for seed in range(10)] * rounds
    layer.requires_grad_(how != "frozen")
    with {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}.get(how, nullcontext)():
        for x in batches:
            layer(x)
    yield from _against(layer, start, batches)
    yield from _kind_of(layer)


def _twice(subject: Subject, *, kind: Kind) -> Iterator[Observation]:
    """A layer used twice before one step back moves its statistics twice; steps back never move them."""
    setting = Setting(kind=kind)
    layer = setting.layer(subject)
    start = state_of(layer)
    first, second = setting.x(subject), setting.x(subject, 1) * 2.0
    y = layer(first) * layer(second)
    yield from _against(layer, start, (first, second))
    before = buffer_snapshot(layer)
    dy = subject.randn(*y.shape, seed=2)
    y.backward(dy, retain_graph=True)
    y.backward(dy)
    yield from _change(before, buffer_snapshot(layer), "after two steps back: ")


def _strided(subject: Subject, *, how: str, setting: Setting, function: bool) -> Iterator[Observation]:
    """Buffers that are parts of larger tensors are updated, and what lies between their elements is not."""
    import torch

    layer, x = setting.layer(subject), setting.x(subject)
    views = {name: part_of_larger(getattr(layer, name), how) for name in STATISTICS}
    for name, (_, part) in views.items():
        setattr(layer, name, part)
    start = state_of(layer)
    with setting.backend():
        if function:
            norm: Any = torch.nn.functional.batch_norm
            norm(x, *(getattr(layer, name) for name in (*STATISTICS, "weight", "bias")), training=True)
            start = replace(start, counted=start.counted - 1)
        else:
            layer(x)
    yield from _against(layer, start, (x,))
    for name, (whole, part) in views.items():
        part.fill_(4.0)
        rest = bool((whole == 4.0).all())
        yield Observation(f"{name}, between", "unchanged" if rest else "changed", expected="unchanged")


def _population(subject: Subject, *, shape: tuple[int, ...], momentum: float | None) -> Iterator[Observation]:
    """Small batches of a population of mean 1.5 and variance 9: the statistics become the population's.

    A biased variance of n values is (n - 1) / n of it: half, for pairs.
    """
    layer = subject.batch_norm(len(shape) - 2 or 1, shape[1], momentum=momentum)
    for seed in range(200):
        layer(subject.randn(*shape, seed=seed, mean=1.5, std=3.0))
    for name, truth in (("running_mean", 1.5), ("running_var", 9.0)):
        seen = getattr(layer, name).double().mean().item()
        yield Observation(f"{name}, relative error", abs(seen / truth - 1.0), 0.05)


def _averaged(subject: Subject, *, buffers: bool) -> Iterator[Observation]:
    """The statistics of a moving average of the model follow those of the model."""
    import torch
    from torch.optim import swa_utils

    setting = Setting()
    layer = setting.layer(subject)
    decay: Any = swa_utils.get_ema_multi_avg_fn
    average = swa_utils.AveragedModel(layer, multi_avg_fn=decay(0.9), use_buffers=buffers)
    for seed in range(60):
        layer(setting.x(subject, seed % 5))
        average.update_parameters(layer)
    for name in STATISTICS:
        mine, theirs = (getattr(one, name) for one in (layer, average.module))
        yield Observation(f"{name}, relative error", (torch.linalg.norm(theirs - mine) / mine.norm()).item(), 0.1)


def _instance(subject: Subject, *, kind: Kind, momentum: float) -> Iterator[Observation]:
    """Instance norm tracks the mean over samples of each sample's mean and unbiased variance."""
    made = instance_norm(kind.dimensions, kind.shape[1], track_running_stats=True, momentum=momentum)
    layer = randomize_state(made).to(subject.device)
    x = subject.randn(*kind.shape)
    results = []
    for dtype in (x.double().dtype, x.dtype):
        flat = x.to(dtype).flatten(2)
        news = (flat.mean(2).mean(0), flat.var(2).mean(0))
        olds = (getattr(layer, name).to(dtype) for name in STATISTICS)
        results.append([(1 - momentum) * old + momentum * new for old, new in zip(olds, news, strict=True)])
    layer(x)
    for name, exact, rounded in zip(STATISTICS, *results, strict=True):
        yield Observation(name, error_ratio(getattr(layer, name), exact, rounded), LIMIT)


MOMENTA: tuple[float | None, ...] = (0.0, 1e-3, 0.1, 0.9, 1.0, None)
LAYOUTS = ("channels-last", "reversed")
#: Shapes of the fewest values a channel, n in place of the 0, where n / (n - 1) is far from 1.
FEW = {
    "batch_norm1d/nc": (0, 7),
    "batch_norm1d/ncl": (1, 7, 0),
    "batch_norm2d": (0, 7, 1, 1),
    "batch_norm2d/one-sample": (1, 7, 1, 0),
    "batch_norm3d": (1, 7, 0, 1, 1),
}
#: The property that must hold, by the first part of a name.
RULES = {
    "step": "the running variance is the unbiased estimate, and the momentum is the share of the new batch",
    "sequence": "batches of every size count equally, and evaluations do not count",
    "eval": "evaluation does not change the statistics",
    "strided": "statistics that are parts of larger tensors are updated, and nothing else is",
    "twice": "every forward pass in training counts once, and no backward pass does",
    "ungraded": "training moves the statistics with and without gradients",
    "small": "updates of a thousandth are kept in every precision of the input",
    "population": "after many small batches the statistics are those of the population",
    "averaged": "the statistics of a moving average of the model follow the model's",
    "instance_norm": "instance norm tracks the mean of its samples' means and unbiased variances",
}
TORCH_ONLY = re.compile(r"strided/function/.*|instance_norm/.*")
QUICK = re.compile(r"step/.*/(momentum=0.9|n=2)|sequence/.*none|eval/.*/trainable|strided/every-second/.*2d|ungraded.*")

#: A check before it is a case: its name, its function and its rows.
Entry = tuple[str, Observe, tuple[str, ...]]


def _steps() -> Iterator[tuple[str, Setting, tuple[str, ...]]]:
    """Yields the name and setting of each step, and the rows it would catch."""
    for kind in KINDS:
        for momentum in MOMENTA:
            yield f"{kind.name}/momentum={momentum}", Setting(kind=kind, momentum=momentum, counted=3), ("N49", "T15")
    for name, shape in FEW.items():
        for n in (2, 3, 8, 64):
            kind = Kind(name, max(1, len(shape) - 2), tuple(extent or n for extent in shape))
            few = Setting(kind=kind, momentum=0.5)
            yield f"{name}/n={n}", few, ("N44", "N47", "N48")
    for layout in LAYOUTS:
        yield f"batch_norm2d/{layout}", Setting(layout=layout, kind=Kind("", 2, (4, 65, 5, 6))), ()
    for dtype in ("float64", "bfloat16", "float16"):
        yield f"batch_norm2d/{dtype}", Setting(dtype=dtype), ()
    for std in (1e-3, 1e3):  # squares far below eps, and far above
        yield f"batch_norm2d/std={std:g}", Setting(std=std, mean=0.0, momentum=0.9), ()
    yield "batch_norm2d/affine=false", Setting(affine=False), ()
    yield "batch_norm2d/one-channel", Setting(kind=Kind("", 2, (4, 1, 5, 6))), ()


def _by_backend(cudnn: bool) -> Iterator[Entry]:
    """Yields the checks that run with and, on CUDA, without cuDNN."""
    for name, setting, rows in _steps():
        yield f"step/{name}", partial(_step, setting=replace(setting, cudnn=cudnn)), rows
    for kind in KINDS:
        rounded = Setting(kind=kind, cudnn=cudnn)
        yield f"eval/{kind.name}/trainable", partial(_evaluation, setting=rounded, trains=True), ()
        yield f"eval/{kind.name}/frozen", partial(_evaluation, setting=rounded, trains=False), ("T11",)
        for how in ("every-second", "column", "offset"):
            observe = partial(_strided, how=how, setting=rounded)
            yield f"strided/{how}/{kind.name}", partial(observe, function=False), ("N10",)
            yield f"strided/function/{how}/{kind.name}", partial(observe, function=True), ("N10",)
    for layout in LAYOUTS:
        setting = Setting(layout=layout, cudnn=cudnn)
        yield f"eval/batch_norm2d/{layout}", partial(_evaluation, setting=setting, trains=True), ()


def _once() -> Iterator[Entry]:
    for kind in KINDS:
        for momentum in (0.1, None):
            observe: Observe = partial(_sequence, setting=Setting(kind=kind, momentum=momentum))
            yield f"sequence/{kind.name}/momentum={momentum}", observe, ("N49", "T15")
        yield f"twice/{kind.name}", partial(_twice, kind=kind), ()
    for how in ("no_grad", "inference_mode", "frozen"):
        yield f"ungraded/{how}", partial(_several, setting=Setting(), how=how), ("T11",) if how == "frozen" else ()
    for dtype in ("float32", "bfloat16", "float16"):
        small = Setting(kind=KINDS[0], momentum=1e-3, dtype=dtype)
        yield f"small/{dtype}", partial(_several, setting=small, rounds=20), ("T22",)
    for kind in KINDS[1:]:
        for share in (0.1, 1.0):
            observe = partial(_instance, kind=kind, momentum=share)
            yield f"instance_norm/{kind.dimensions}d/momentum={share}", observe, ()


def _long() -> Iterator[Entry]:
    """Yields the checks of many steps and of other tools of torch."""
    for shape in ((2, 256), (3, 256), (4, 256), (1, 256, 2), (2, 256, 1, 1)):
        for momentum in (0.1, None):
            observe = partial(_population, shape=shape, momentum=momentum)
            yield f"population/{'x'.join(map(str, shape))}/momentum={momentum}", observe, ("N44", "N45", "N47")
    for buffers in (True, False):
        yield f"averaged/use_buffers={buffers}", partial(_averaged, buffers=buffers), ("T13",)


def cases() -> Iterator[NumericsCase]:
    """Every check, and on CUDA those that have a choice of backend a second time with cuDNN off."""
    entirely = chain(_by_backend(cudnn=True), _once(), _long())
    for entries, suffix in ((entirely, ""), (_by_backend(cudnn=False), "/cudnn=off")):
        for given, observe, rows in entries:
            name = given.lower()
            yield NumericsCase(
                group="running-statistics",
                name=name + suffix,
                observe=observe,
                rule=RULES[name.split("/")[0]],
                rows=rows,
                torch_only=TORCH_ONLY.fullmatch(name) is not None,
                gpu_only=bool(suffix),
                quick=not suffix and QUICK.fullmatch(name) is not None,
            )
