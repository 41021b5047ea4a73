"""Family ``folding``: a layer folded into the convolution, transposed convolution or linear layer before it.

The function that folds is torch's own, or the one that ``--fold`` names: of a module and of the batch norm after it,
both in evaluation, it returns one module that computes both.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases import functions, gpu_errors
from bnsuite.cases.checks.case import BehaviourCase, Observation, Subject
from bnsuite.cases.checks.material.arithmetic import LIMIT, error_ratio, randomize_state
from bnsuite.cases.checks.material.states import snapshot

if TYPE_CHECKING:
    import torch
    from torch import nn

ROLE = "fold"
RULE = "one module computes what the layer does after the module before it"
SPATIAL: dict[int, tuple[int, ...]] = {1: (9,), 2: (6, 5), 3: (4, 3, 5)}
#: Channels before and after the module, and its groups: unequal, since a mix-up of the two is right where they agree.
CHANNELS = {
    "plain": (4, 6, 1),
    "fewer": (6, 4, 1),
    "grouped": (4, 6, 2),
    "grouped-fewer": (6, 4, 2),
    "depthwise": (4, 8, 4),
    "one-each": (6, 6, 6),
}
#: Settings of the module that move its output about: folding has no part in them.
GEOMETRIES: dict[str, dict[str, Any]] = {
    "strided": {"stride": 2, "padding": 1},
    "dilated": {"dilation": 2, "padding": 2},
    "even-kernel": {"kernel_size": 2},
    "reflected": {"padding": 1, "padding_mode": "reflect"},
    "circular": {"padding": 1, "padding_mode": "circular"},
    "output-padding": {"stride": 2, "padding": 1, "output_padding": 1},
}
#: Variances and weights of the layer where a formula may slip: eps outvotes the variance, or a factor vanishes.
STATES = ("usual", "tiny-variance", "zero-weights", "negative-weights", "far-mean")


@dataclass(frozen=True)
class _Pair:
    """A module and the layer after it, with an input."""

    module: nn.Module
    layer: nn.Module
    x: torch.Tensor


def _torchs(module: Any, layer: Any) -> nn.Module:
    """Folds by torch's own functions."""
    from torch import nn
    from torch.nn.modules.conv import _ConvTransposeNd
    from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

    transposed = isinstance(module, _ConvTransposeNd)
    linear = isinstance(module, nn.Linear)
    folded: nn.Module = (
        fuse_linear_bn_eval(module, layer) if linear else fuse_conv_bn_eval(module, layer, transpose=transposed)
    )
    return folded


def _layer(subject: Subject, dimensions: int, channels: int, state: str, **options: Any) -> nn.Module:
    import torch
    from torch import nn

    kind = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dimensions - 1]
    made: nn.Module = randomize_state(kind(channels, **{"eps": 1e-3, **options})).to(subject.device).eval()
    layer: Any = made
    with torch.no_grad():
        if state == "tiny-variance":
            layer.running_var.mul_(1e-6)
        if state == "far-mean":
            layer.running_mean.add_(1e3)
        if layer.weight is not None and state == "zero-weights":
            layer.weight.mul_(torch.arange(channels, device=subject.device) % 2)
        if layer.weight is not None and state == "negative-weights":
            layer.weight.neg_()
    return made


def _convolution(
    subject: Subject,
    dimensions: int,
    *,
    transposed: bool,
    channels: str,
    bias: bool,
    affine: bool,
    state: str = "usual",
    **geometry: Any,
) -> _Pair:
    import torch
    from torch import nn

    torch.manual_seed(0)
    kinds: Any = (
        (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        if transposed
        else (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    )
    before, after, groups = CHANNELS[channels]
    made = kinds[dimensions - 1](before, after, bias=bias, groups=groups, **{"kernel_size": 3, **geometry})
    layer = _layer(subject, dimensions, after, state, affine=affine)
    return _Pair(made.to(subject.device).eval(), layer, subject.randn(3, before, *SPATIAL[dimensions]))


def _linear(subject: Subject, *, bias: bool, affine: bool, state: str = "usual", one: bool = False) -> _Pair:
    """A linear layer; or `one`, whose layer has the one channel of an input (N, 1, H)."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    module = nn.Linear(4, 6, bias=bias).to(subject.device).eval()
    layer = _layer(subject, 1, 1 if one else 6, state, affine=affine)
    return _Pair(module, layer, subject.randn(*((7, 1, 4) if one else (7, 4))))


def _folded(subject: Subject, *, pairs: Mapping[str, Callable[[Subject], _Pair]]) -> Iterator[Observation]:
    """Folds pairs of modules, each by its name."""
    for name, make in pairs.items():
        pair = make(subject)
        try:
            found = list(_observed(pair))
        except Exception as error:  # noqa: BLE001  # whatever a user's function raises
            gpu_errors.note(error)
            yield Observation(f"{name}/outcome", type(error).__name__, expected="folded")
            continue
        yield Observation(f"{name}/outcome", "folded", expected="folded")
        yield from (replace(one, what=f"{name}/{one.what}") for one in found)


def _observed(pair: _Pair) -> Iterator[Observation]:
    """Yields what is wrong with the folded module, whose output is compared with that of the pair in float64."""
    import torch

    module, layer, x = pair.module, pair.layer, pair.x
    exact: Any = torch.nn.Sequential(copy.deepcopy(module), copy.deepcopy(layer)).double()
    before = [snapshot(module), snapshot(layer)]
    folded = (functions.function(ROLE) or _torchs)(module, layer)
    if not isinstance(folded, torch.nn.Module):
        raise TypeError(f"the function returns no module, but a {type(folded).__name__}")
    after = [snapshot(module), snapshot(layer)]
    same = all(torch.equal(one[name], other[name]) for one, other in zip(before, after, strict=True) for name in one)
    yield Observation("what was folded", "kept" if same else "changed", expected="kept")
    shares = {one.data_ptr() for one in folded.parameters()} & {one.data_ptr() for one in module.parameters()}
    yield Observation("memory", "shared" if shares else "its own", expected="its own")
    yield Observation("training", str(folded.training), expected="False")
    with torch.no_grad():
        yield Observation("y", error_ratio(folded(x), exact(x.double()), layer(module(x))), LIMIT)
        # the layer is gone from it: a second call gives the same, and nothing is counted
        yield Observation("again", error_ratio(folded(x), exact(x.double()), layer(module(x))), LIMIT)


def _flags(**flags: bool) -> str:
    return "/".join(f"{name}={'on' if value else 'off'}" for name, value in flags.items())


def _by_flags(make: Callable[..., _Pair]) -> dict[str, Callable[[Subject], _Pair]]:
    """Returns the pairs with and without a bias of the module and parameters of the layer."""
    return {
        _flags(bias=bias, affine=affine): partial(make, bias=bias, affine=affine)
        for bias, affine in product((True, False), repeat=2)
    }


def cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="folding", rule=RULE, torch_only=True, function=ROLE)
    for dimensions, transposed in product(SPATIAL, (False, True)):
        where = f"conv{'_transpose' if transposed else ''}{dimensions}d"
        make = partial(_convolution, dimensions=dimensions, transposed=transposed)
        for channels in CHANNELS:
            yield case(
                name=f"{where}/{channels}",
                observe=partial(_folded, pairs=_by_flags(partial(make, channels=channels))),
                rows=("F01",) if transposed and CHANNELS[channels][2] > 1 else (),
                quick=dimensions == 2 and channels in {"plain", "grouped"},
            )
        yield case(
            name=f"{where}/states",
            observe=partial(
                _folded,
                pairs={one: partial(make, channels="plain", bias=True, affine=True, state=one) for one in STATES},
            ),
            quick=dimensions == 2 and not transposed,
        )
        geometries = {
            name: partial(make, channels="plain", bias=True, affine=True, **options)
            for name, options in GEOMETRIES.items()
            if not (transposed and "padding_mode" in options) and (transposed or "output_padding" not in options)
        }
        yield case(name=f"{where}/geometries", observe=partial(_folded, pairs=geometries))
    yield case(name="linear/plain", observe=partial(_folded, pairs=_by_flags(_linear)), rows=("F02",), quick=True)
    yield case(
        name="linear/one-channel",
        observe=partial(_folded, pairs=_by_flags(partial(_linear, one=True))),
        rows=("F02", "F03"),
    )
    yield case(
        name="linear/states",
        observe=partial(_folded, pairs={one: partial(_linear, bias=True, affine=True, state=one) for one in STATES}),
    )
