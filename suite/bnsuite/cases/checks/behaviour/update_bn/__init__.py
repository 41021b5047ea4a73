"""Family ``update-bn``: a pass over data that takes the running statistics of a model anew.

The pass is ``torch.optim.swa_utils.update_bn``, or the function that ``--update-bn`` names, which is called like it:
``function(loader, model)``. Afterwards a statistic is the plain average over the batches of their means, or of their
unbiased variances, as with ``momentum=None``. A function whose attribute ``statistics`` is "population" is held to the
mean and the biased variance of the values of all batches together, as precise batch norm is (arXiv:2105.07576).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases import functions, gpu_errors
from bnsuite.cases.checks.behaviour.update_bn.setups import (
    DONE,
    SIZES,
    SPATIAL,
    Make,
    Setup,
    averaged,
    by_loader,
    ending,
    one_dtype,
    one_mode,
    usual,
    with_layer,
)
from bnsuite.cases.checks.case import BehaviourCase, CheckNotApplicableError, Observation, Observe, Subject
from bnsuite.cases.checks.material.arithmetic import LIMIT, error_ratio, same_bits
from bnsuite.cases.checks.material.states import BUFFERS, COUNTER, STATISTICS

if TYPE_CHECKING:
    import torch
    from torch import nn

ROLE = "update_bn"
AVERAGE, POPULATION = "average", "population"
BEFORE = "as before"
#: Settings of a module that are compared by themselves.
APART = ("training", "momentum")
HOOKS = ("hooks", "pre_hooks")


def _norms(net: nn.Module) -> dict[str, Any]:
    """Returns the batch norms of a model that have running statistics, by name."""
    from torch.nn.modules.batchnorm import _BatchNorm

    found: Iterable[tuple[str, Any]] = net.named_modules()
    return {name: one for name, one in found if isinstance(one, _BatchNorm) and one.running_mean is not None}


def _inputs(net: nn.Module, batches: Sequence[torch.Tensor], *, exact: bool) -> dict[str, list[torch.Tensor]]:
    """Returns what a copy of the model, in float64 if `exact`, gives to each norm as it trains, as (C, values)."""
    import torch

    net = copy.deepcopy(net).train()
    net = net.double() if exact else net
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in _norms(net)}

    def note(_module: Any, given: tuple[torch.Tensor, ...], *, name: str) -> None:
        seen[name].append(given[0].detach().movedim(1, 0).flatten(1))

    for name, one in _norms(net).items():
        one.register_forward_pre_hook(partial(note, name=name))
    with torch.no_grad():
        for x in batches:
            net(x.double() if exact else x)
    return seen


def _statistics(values: Sequence[torch.Tensor], definition: str, dtype: torch.dtype) -> list[torch.Tensor]:
    """Returns the mean and variance of a norm's inputs; an average is rounded to `dtype` after each batch."""
    import torch

    def of(rows: torch.Tensor, less: int) -> tuple[torch.Tensor, torch.Tensor]:
        mean = rows.mean(1)
        return mean, (rows - mean[:, None]).square().sum(1) / (rows.shape[1] - less)

    lifted = [one.to(torch.promote_types(one.dtype, torch.float32)) for one in values]
    if definition == POPULATION:
        return [one.to(dtype) for one in of(torch.cat(lifted, 1), 0)]
    average = [torch.zeros_like(lifted[0][:, 0], dtype=dtype) for _ in STATISTICS]
    for count, one in enumerate(lifted, start=1):
        average = [(old + (new - old) / count).to(dtype) for old, new in zip(average, of(one, 1), strict=True)]
    return average


def _state(net: nn.Module) -> dict[str, dict[str, Any]]:
    """Returns what a pass leaves alone, by kind and name: all but the statistics of batch norm.

    Instance norm's are not among them: a forward pass in training moves them.
    """
    from torch.nn.modules.instancenorm import _InstanceNorm

    moved = {f"{name}.{buffer}" for name in _norms(net) for buffer in BUFFERS}
    moved |= {f"{name}.{b}" for name, one in net.named_modules() if isinstance(one, _InstanceNorm) for b in BUFFERS}
    plain = (bool, int, float, str, tuple)
    modules: dict[str, Any] = {name or "model": one for name, one in net.named_modules()}
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    return {
        "parameters": {name: one.detach().clone() for name, one in net.named_parameters()},
        "gradients": {name: None if one.grad is None else one.grad.clone() for name, one in net.named_parameters()},
        "buffers": {name: one.clone() for name, one in net.named_buffers() if name not in moved},
        "tensors": {
            name: (type(one), one.dtype, one.shape, one.device, one.requires_grad, one.grad_fn)
            for name, one in tensors.items()
        },
        "training": {name: one.training for name, one in modules.items()},
        "momentum": {name: one.momentum for name, one in modules.items() if hasattr(one, "momentum")},
        "settings": {
            name: {key: value for key, value in vars(one).items() if isinstance(value, plain) and key not in APART}
            for name, one in modules.items()
        },
        "hooks": {name: [len(getattr(one, f"_forward_{kind}")) for kind in HOOKS] for name, one in modules.items()},
    }


def _differ(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Returns "as before", or the names of what differs."""
    import torch

    def same(one: Any, other: Any) -> bool:
        if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
            return same_bits(one, other)
        return type(one) is type(other) and bool(one == other)

    return "+".join(name for name in {**before, **after} if not same(before.get(name), after.get(name))) or BEFORE


def _function() -> tuple[Callable[..., object], str]:
    """Returns the function that is judged, and the definition of statistics that it follows."""
    from torch.optim import swa_utils

    own: Any = swa_utils.update_bn
    found = functions.function(ROLE) or own
    definition = getattr(found, "statistics", AVERAGE)
    if definition not in {AVERAGE, POPULATION}:
        said = f"{functions.OPTIONS[ROLE]} {functions.named()[ROLE]}"
        raise functions.FunctionError(
            f'{said}: its attribute statistics is {definition!r}; make it "{AVERAGE}" or "{POPULATION}"'
        )
    return found, definition


def _takes(function: Callable[..., object], names: Iterable[str]) -> bool:
    found = inspect.signature(function).parameters.values()
    return any(one.kind is one.VAR_KEYWORD for one in found) or set(names) <= {one.name for one in found}


def _observed(subject: Subject, *, make: Make) -> Iterator[Observation]:
    """Yields what a pass makes of a model, beside float64, and what it does not leave alone."""
    import torch

    setup = make(subject)
    net, (function, definition) = setup.net, _function()
    if not _takes(function, setup.more):
        raise CheckNotApplicableError(f"the function takes no argument {'+'.join(setup.more)}")
    for number, one in enumerate(net.parameters()):
        one.grad = torch.ones_like(one) if number % 2 else None
    exact, rounded = (_inputs(net, setup.batches, exact=one) for one in (True, False))
    before, statistics = _state(net), {name: one.running_mean.clone() for name, one in _norms(net).items()}
    outcome = DONE
    with torch.set_grad_enabled(setup.gradients):
        try:
            for _ in range(setup.passes):
                function(setup.batches if setup.loader is None else setup.loader, net, **setup.more)
        except Exception as error:  # noqa: BLE001  # whatever a user's function raises
            gpu_errors.note(error)
            outcome = type(error).__name__
        grad_mode = torch.is_grad_enabled()
    yield Observation("outcome", outcome, expected=setup.outcome)
    if functions.function(ROLE) is None:
        yield from _unpromised(setup, before, statistics)
    if outcome != DONE:
        return
    yield Observation("grad mode", str(grad_mode), expected=str(setup.gradients))
    after = _state(net)
    yield from (Observation(kind, _differ(one, after[kind]), expected=BEFORE) for kind, one in before.items())
    for name, layer in _norms(net).items() if setup.batches else ():
        dtype = layer.running_mean.dtype
        sides = (_statistics(exact[name], definition, torch.float64), _statistics(rounded[name], definition, dtype))
        ratios = [error_ratio(getattr(layer, what), *pair) for what, *pair in zip(STATISTICS, *sides, strict=True)]
        if name == setup.frozen:
            right = max(ratios) <= LIMIT or same_bits(layer.running_mean, statistics[name])
            yield Observation(f"{name}/statistics", "anew or kept" if right else "neither", expected="anew or kept")
            continue
        for what, ratio in zip(STATISTICS, ratios, strict=True):
            yield Observation(f"{name}/{what}", ratio, LIMIT)
        yield Observation(f"{name}/{COUNTER}", str(int(layer.num_batches_tracked)), expected=str(len(setup.batches)))


def _unpromised(setup: Setup, before: dict[str, Any], statistics: dict[str, torch.Tensor]) -> Iterator[Observation]:
    """Yields what torch's function does where its documentation is silent: a change is news, and no more."""
    from torch.nn.modules.instancenorm import _InstanceNorm

    after, norms = _state(setup.net), _norms(setup.net)
    if setup.outcome != DONE:
        yield from (Observation(f"{kind} then", _differ(before[kind], after[kind])) for kind in APART)
    elif not norms:
        yield Observation("batches left", str(len(list(setup.loader or ()))))
    elif not setup.batches:
        yield Observation("statistics", _differ(statistics, {name: one.running_mean for name, one in norms.items()}))
    for name, one in setup.net.named_modules():
        if isinstance(one, _InstanceNorm) and one.running_mean is not None:
            moved = bool(one.running_mean.any())  # zeros before
            yield Observation(f"{name}/statistics", "moved" if moved else "kept")


#: The property that must hold, by the first part of a name.
RULES = {
    "statistics": "a statistic is the plain average over the batches, and nothing else changes",
    "modes": "every module is in the mode that it was in",
    "numbers": "statistics are exact in every precision, and far from zero",
    "loaders": "batches come from every kind of loader that is documented",
    "models": "every layer of batch norm gets its statistics, and nothing else changes",
    "ends": "without data or batch norm only statistics change, and an exception of the loader is passed on",
}
#: An entry of the catalogue: a name, what makes its setup, and the rows that it would catch.
Entry = tuple[str, Make, tuple[str, ...]]


def _entries() -> Iterator[Entry]:
    for spatial, sizes, training in product(SPATIAL, SIZES, (True, False)):
        mode = "train" if training else "eval"
        make = partial(usual, spatial=spatial, sizes=sizes, training=training)
        yield f"statistics/{spatial}/{sizes}/{mode}", make, ("U01",) if sizes == "one-batch" else ("U01", "U03")
    yield "modes/frozen-norm", partial(one_mode, name="norm2", training=True), ("U04",)
    yield "modes/dropout-off", partial(one_mode, name="dropout", training=True), ()
    yield "modes/dropout-on", partial(one_mode, name="dropout", training=False), ()
    for spatial in SPATIAL:
        yield f"numbers/far-mean/{spatial}", partial(usual, spatial=spatial, mean=1e3), ()
    for dtype in ("float64", "bfloat16", "float16"):
        yield f"numbers/{dtype}", partial(one_dtype, dtype=dtype), ()
    for dtype in ("bfloat16", "float16"):
        yield f"numbers/{dtype}/parameters=float32", partial(one_dtype, dtype=dtype, mixed=True), ()
    for kind in ("tensors", "tuples", "lists", "generator", "data-loader", "device"):
        yield f"loaders/{kind}", partial(by_loader, kind=kind), ()
    for kind in ("untracked", "momentum=0", "other-norms", "instance-norm", "sync-batch-norm", "frozen-parameters"):
        yield f"models/{kind}", partial(with_layer, kind=kind), ()
    yield "models/averaged", averaged, ()
    yield "models/two-passes", lambda subject: replace(usual(subject), passes=2), ("U02",)
    yield "models/no-grad", lambda subject: replace(usual(subject), gradients=False), ()
    for kind in ("no-data", "no-norm", "exception"):
        yield f"ends/{kind}", partial(ending, kind=kind), ()


QUICK = {"statistics/2d/unequal/train", "statistics/2d/equal/eval", "modes/frozen-norm", "loaders/tuples"}


def cases() -> Iterator[BehaviourCase]:
    for name, make, rows in _entries():
        observe: Observe = partial(_observed, make=make)
        yield BehaviourCase(
            group="update-bn",
            name=name,
            observe=observe,
            rule=RULES[name.split("/")[0]],
            rows=rows,
            torch_only=True,
            function=ROLE,
            quick=name in QUICK,
        )
