"""Family ``degenerate``: one value per channel, no samples, no channels."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import NumericsCase, Observation, Observe, Subject
from bnsuite.cases.checks.material.arithmetic import layer_step, randomize_state, step_against_float64
from bnsuite.cases.checks.material.outcomes import returned_or_refused
from bnsuite.cases.checks.material.settings import KINDS, Kind, Setting
from bnsuite.cases.checks.material.states import STATISTICS

if TYPE_CHECKING:
    import torch
    from torch import nn


def _layer(subject: Subject, channels: int, rank: int, **arguments: Any) -> nn.Module:
    """A layer for inputs of `rank` axes."""
    return randomize_state(subject.batch_norm(max(1, rank - 2), channels, **arguments))


def _statistics(layer: nn.Module) -> dict[str, torch.Tensor]:
    return {name: getattr(layer, name).detach().clone() for name in STATISTICS}


def _moved(layer: nn.Module, before: dict[str, torch.Tensor], prefix: str = "") -> Iterator[Observation]:
    """Checks that no bit of the statistics has changed."""
    for name, value in before.items():
        same = bool((getattr(layer, name) == value).all())
        yield Observation(f"{prefix}{name}", "unchanged" if same else "changed", expected="unchanged")


def _refused(
    subject: Subject, *, shapes: tuple[tuple[int, ...], ...], features: int, training: bool, **arguments: bool
) -> Iterator[Observation]:
    """Inputs that have no result are refused, and leave the statistics as they were."""
    for shape in shapes:
        layer = _layer(subject, features, len(shape), **arguments).train(training)
        before, x = _statistics(layer), subject.randn(*shape)
        told = "x".join(map(str, shape))
        yield Observation(told, returned_or_refused(partial(layer, x)), expected="refused")
        yield from _moved(layer, before, f"{told}, ")


def _uncounted(subject: Subject, *, shape: tuple[int, ...], features: int) -> Iterator[Observation]:
    """A batch that was refused isn't counted either: the share of the next in a plain average would be too small."""
    layer = _layer(subject, features, len(shape), momentum=None)
    x = subject.randn(*shape)
    yield Observation("the call", returned_or_refused(partial(layer, x)), expected="refused")
    yield Observation("num_batches_tracked", str(int(layer.get_buffer("num_batches_tracked"))), expected="0")


def _lone(subject: Subject, *, shape: tuple[int, ...], training: bool) -> Iterator[Observation]:
    """Few values a channel, or one in evaluation, where a result is defined."""
    layer = _layer(subject, shape[1], len(shape)).train(training)
    yield from step_against_float64(layer, subject.randn(*shape), subject.randn(*shape, seed=1))


def _empty(subject: Subject, *, shape: tuple[int, ...], training: bool) -> Iterator[Observation]:
    """No values at all: an empty result, gradients of zero, and statistics that stay."""
    layer = _layer(subject, shape[1], len(shape)).train(training)
    before = _statistics(layer)
    seen = layer_step(layer, subject.randn(*shape), subject.randn(*shape, seed=1))
    for name in ("y", "dx"):
        yield Observation(name, str(list(getattr(seen, name).shape)), expected=str(list(shape)))
    for name in ("dweight", "dbias"):
        found = getattr(seen, name)
        yield Observation(name, "missing" if found is None else f"{found.abs().max().item():g}", expected="0")
    yield from _moved(layer, before)
    counter = layer.get_buffer("num_batches_tracked")
    yield Observation("num_batches_tracked", str(int(counter)), expected=None if training else "0")
    layer.train()
    full = (5, *(max(2, extent) for extent in shape[1:]))
    full = (full[0], shape[1], *full[2:])
    yield from step_against_float64(
        layer, subject.randn(*full), subject.randn(*full, seed=3), prefix="the next batch: "
    )


def _constant(subject: Subject, *, setting: Setting) -> Iterator[Observation]:
    """Channels of one value each, beside others: their output is the bias, and everything is finite.

    Sums of the value 2 are exact, so that rounding has no part in the statistics.
    """
    import torch

    layer, x = setting.layer(subject), setting.x(subject)
    bias = layer.get_parameter("bias").detach().clone()
    x[:, 0], x[:, 2], x[:, 5] = 0.0, 2.0, -2.0
    dy = subject.randn(*x.shape, seed=1, dtype=setting.dtype)
    with setting.backend():
        seen = list(step_against_float64(layer, x, dy))
        y = layer(x)
    yield from (one for one in seen if one.what != "y")
    away = (y - bias.to(y.dtype).view(-1, *[1] * (y.dim() - 2))).abs().amax([0, *range(2, y.dim())])
    # The error that a scale and shift of the value 2 may make, where the scale is weight / sqrt(eps).
    lost = 4 * 2.0 * 1.5 / 1e-5**0.5 * torch.finfo(torch.float32).eps + torch.finfo(y.dtype).eps
    for channel in (0, 2, 5):
        yield Observation(f"channel {channel}, from its bias", away[channel].item(), lost)


def _unfelt(subject: Subject, *, shape: tuple[int, ...], training: bool) -> Iterator[Observation]:
    """Weights of zero: the output is the bias, the input's gradient is zero, and the weight's is as it should be."""
    layer = _layer(subject, shape[1], len(shape)).train(training)
    weight = layer.get_parameter("weight")
    weight.data[::2] = 0.0
    yield from step_against_float64(layer, subject.randn(*shape), subject.randn(*shape, seed=1))


def _nothing(subject: Subject, *, training: bool) -> Iterator[Observation]:
    """A layer of no features on an input of none."""
    for shape in ((2, 0), (2, 0, 3), (2, 0, 3, 4)):
        layer = subject.batch_norm(max(1, len(shape) - 2), 0).train(training)
        yield Observation("x".join(map(str, shape)), returned_or_refused(partial(layer, subject.randn(*shape))))


def _alike(subject: Subject, *, norm: str, rank: int) -> Iterator[Observation]:
    """Checks that the outcome for one value per mean doesn't depend on the number of samples."""
    from torch import nn

    make: dict[str, Callable[[], nn.Module]] = {
        "instance_norm": lambda: {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}[rank](3),
        "group_norm": lambda: nn.GroupNorm(3, 3),
        "layer_norm": lambda: nn.LayerNorm(1),
    }
    layer = make[norm]().to(subject.device)
    outcomes = [
        returned_or_refused(partial(layer, subject.randn(samples, 3, *[1] * (rank - 2)))) for samples in (1, 2, 8)
    ]
    seen = "the same" if len(set(outcomes)) == 1 else ", ".join(outcomes)
    yield Observation("for 1, 2 and 8 samples", seen, expected="the same")


#: Shapes on which the operators are tried: without channels, samples or extent, and with one value a channel.
ODD = ((2, 0), (2, 0, 3), (0, 3), (0, 3, 4), (0, 0, 4), (2, 3, 0), (1, 3), (1, 3, 1), (1, 3, 1, 1))


def _tries(device: str) -> Iterator[tuple[str, bool, Callable[[], torch.Tensor]]]:
    """Each operator on each shape: its name, whether it has one value a channel, and a call that gives the statistics
    afterwards.
    """
    import torch
    from torch.nn import functional

    aten, state = torch.ops.aten, (0.1, 1e-5)
    operators: dict[str, Callable[..., object]] = {
        "batch_norm": lambda x, m, v, w: torch.batch_norm(x, w, w, m, v, True, *state, True),
        "batch_norm, cudnn off": lambda x, m, v, w: torch.batch_norm(x, w, w, m, v, True, *state, False),
        "batch_norm, eval": lambda x, m, v, w: torch.batch_norm(x, w, w, m, v, False, *state, True),
        "native_batch_norm": lambda x, m, v, w: torch.native_batch_norm(x, w, w, m, v, True, *state),
        "legit": lambda x, m, v, w: aten._native_batch_norm_legit(x, w, w, m, v, True, *state),  # noqa: SLF001
        "update_stats": lambda x, m, v, _: torch.batch_norm_update_stats(x, m, v, 0.1),
        "backward": lambda x, m, v, w: aten.native_batch_norm_backward(
            x, x, w, m, v, m, v, True, 1e-5, [True, True, True]
        ),
        "instance_norm": lambda x, m, v, w: functional.instance_norm(x, m, v, w, w),
        "group_norm": lambda x, _, __, w: torch.group_norm(x, 1, w, w),
        "layer_norm": lambda x, _, __, ___: functional.layer_norm(x, x.shape[1:]),
    }
    for name, operator in operators.items():
        for shape in ODD:

            def call(operator: Callable[..., object] = operator, shape: tuple[int, ...] = shape) -> torch.Tensor:
                mean, var, weight = (torch.full((shape[1],), one, device=device) for one in (3.0, 7.0, 1.0))
                operator(torch.ones(shape, device=device), mean, var, weight)
                return torch.stack((mean, var))

            yield f"{name}, {'x'.join(map(str, shape))}", shape[0] == 1, call


def try_operators(device: str, first: int) -> None:
    """Tries the operators from the `first`-th on and prints each outcome, so that a crash is known by its place."""
    import torch

    for _, _, call in list(_tries(device))[first:]:
        if device == "cpu":
            _forked(call)
            continue
        outcome = _kept_by(call)
        torch.cuda.synchronize(device)
        print(outcome, flush=True)


def _kept_by(call: Callable[[], torch.Tensor]) -> str:
    import torch

    try:
        return "finite" if bool(torch.isfinite(call()).all()) else "not finite"
    except Exception:  # noqa: BLE001  # which one differs by version
        return "refused"


def _forked(call: Callable[[], torch.Tensor]) -> None:
    """Tries in a fork of this process, which may crash."""
    child = os.fork()
    if child == 0:
        print(_kept_by(call), flush=True)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        print(_ended(status), flush=True)


def _ended(status: int) -> str:
    return f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"


def _operators(subject: Subject) -> Iterator[Observation]:
    """The operators below the layer, in a process that may crash: it begins again after whichever crashed it."""
    names = [(name, lone) for name, lone, _ in _tries(subject.device)]
    outcomes: list[str] = []
    while len(outcomes) < len(names):
        program = f"from {__name__} import try_operators; try_operators({subject.device!r}, {len(outcomes)})"
        ended = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, env=os.environ, check=False
        )
        outcomes += ended.stdout.split("\n")[:-1]
        if len(outcomes) < len(names):
            outcomes.append(_ended(ended.returncode))
    for (name, lone), outcome in zip(names, outcomes, strict=True):
        clean = outcome in {"refused", "finite"}
        if lone and "eval" not in name:
            yield Observation(name, outcome)
        else:
            yield Observation(name, "clean" if clean else outcome, expected="clean")


LONE = ((1, 7), (1, 7, 1), (1, 7, 1, 1), (1, 7, 1, 1, 1))
#: Two values a channel, or an extent of 1.
NARROW = ((2, 7), (1, 7, 2), (2, 7, 1), (9, 7, 1), (1, 7, 1, 2), (9, 7, 1, 1), (9, 1, 1, 1), (2, 7, 1, 1, 1))
EMPTY = ((0, 7), (0, 7, 4), (3, 7, 0), (0, 7, 4, 5), (3, 7, 0, 5), (3, 7, 4, 0), (0, 7, 3, 4, 5), (2, 7, 3, 0, 5))

RULES = {
    "one-value": "one value per channel is refused in training, and changes no state",
    "features": "an input with a wrong number of channels is refused, and changes no state",
    "uncounted": "a refused batch is not counted",
    "narrow": "few values and extents of 1 are computed like any others",
    "empty": "an empty batch gives an empty result and gradients of zero, and changes no state",
    "constant": "a channel of one value gives the bias, and finite results only",
    "zero-weight": "a weight of zero gives the bias, and exact gradients",
    "no-features": "a layer of no features refuses or returns",
    "alike": "the outcome for one value per mean does not depend on the number of samples",
    "operators": "no operator crashes or corrupts the statistics on an empty input",
}

Entry = tuple[str, Observe, tuple[str, ...]]


def _layers() -> Iterator[Entry]:
    """Yields each check of a layer before it is a case: its name, its function and its rows."""
    lone = partial(_refused, shapes=LONE, features=7, training=True)
    yield "one-value/affine=true", lone, ("N47", "N48", "N50", "N51")
    yield "one-value/affine=false", partial(lone, affine=False), ("N47", "N48", "N50", "N51")
    for shape in LONE:
        yield f"narrow/{_told(shape)}/eval", partial(_lone, shape=shape, training=False), ()
    for channels in (0, 1, 4, 6):
        for training in (True, False):
            mode = "train" if training else "eval"
            shapes = ((4, channels), (4, channels, 3), (4, channels, 3, 4), (4, channels, 3, 4, 2))
            observe: Observe = partial(_refused, shapes=shapes, features=5, training=training)
            yield f"features/5-for-{channels}/{mode}", observe, ("N55",)
    yield "uncounted/one-value", partial(_uncounted, shape=(1, 7, 1, 1), features=7), ()
    yield "uncounted/features", partial(_uncounted, shape=(4, 6, 3, 3), features=7), ()
    for training in (True, False):
        mode = "train" if training else "eval"
        for shape in NARROW:
            yield f"narrow/{_told(shape)}/{mode}", partial(_lone, shape=shape, training=training), ()
        for shape in EMPTY:
            rows = ("N52",) if training else ()
            yield f"empty/{_told(shape)}/{mode}", partial(_empty, shape=shape, training=training), rows
        for shape in ((16, 7), (4, 7, 5, 6)):
            yield f"zero-weight/{_told(shape)}/{mode}", partial(_unfelt, shape=shape, training=training), ()
        yield f"no-features/{mode}", partial(_nothing, training=training), ()


def _constants(cudnn: bool) -> Iterator[Entry]:
    """Yields the checks that run with and, on CUDA, without cuDNN."""
    for kind in (*KINDS, Kind("batch_norm1d/64x512", 1, (64, 512))):
        yield f"constant/{kind.name}", partial(_constant, setting=Setting(kind=kind, cudnn=cudnn)), ("N33",)
    for dtype in ("bfloat16", "float16", "float64"):
        observe = partial(_constant, setting=Setting(dtype=dtype, cudnn=cudnn))
        yield f"constant/batch_norm2d/{dtype}", observe, ("N33",)


def _told(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _others() -> Iterator[Entry]:
    """Yields the checks of parts of torch alone."""
    for norm, ranks in (("instance_norm", (3, 4, 5)), ("group_norm", (2, 4)), ("layer_norm", (3,))):
        for rank in ranks:
            yield f"alike/{norm}/{rank}-axes", partial(_alike, norm=norm, rank=rank), ("N43",)
    yield "operators", _operators, ("N48", "N50", "N51", "N52", "N54")


def cases() -> Iterator[NumericsCase]:
    """Every check, and on CUDA those that have a choice of backend a second time with cuDNN off."""
    groups = ((_layers(), ""), (_constants(cudnn=True), ""), (_others(), ""), (_constants(cudnn=False), "/cudnn=off"))
    for entries, suffix in groups:
        for name, observe, rows in entries:
            first = name.split("/")[0]
            yield NumericsCase(
                group="degenerate",
                name=name + suffix,
                observe=observe,
                rule=RULES[first],
                rows=rows,
                torch_only=first in {"alike", "operators"},
                gpu_only=bool(suffix),
                limit_s=300.0 if first == "operators" else 60.0,
                quick=not suffix and first in {"one-value", "features", "empty", "constant"},
            )
