"""Family ``sync-conversion``: convert_sync_batchnorm, and other converters that replace batch norm."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import BehaviourCase, Observation, Subject
from bnsuite.cases.checks.material.arithmetic import randomize_state
from bnsuite.cases.checks.material.outcomes import outcome_of
from bnsuite.cases.checks.material.states import same_state, same_steps, snapshot

if TYPE_CHECKING:
    import torch
    from torch import nn

SHAPES: dict[int, tuple[int, ...]] = {1: (6, 5), 2: (6, 5, 3, 4), 3: (4, 5, 2, 3, 2)}
CHANNELS = 5
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "affine=off": {"affine": False},
    "tracking=off": {"track_running_stats": False},
    "both=off": {"affine": False, "track_running_stats": False},
    "momentum=none": {"momentum": None},
    "eps+momentum": {"eps": 1e-2, "momentum": 0.7},
}


def _layer(subject: Subject, dimensions: int, options: dict[str, Any], dtype: str = "float32") -> Any:
    """Returns torch's own layer, since conversion depends on its class."""
    import torch
    from torch import nn

    kind = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dimensions - 1]
    layer = randomize_state(kind(CHANNELS, **options).to(subject.device, getattr(torch, dtype)))
    for name, counter in layer.named_buffers():
        if name == "num_batches_tracked":
            counter.fill_(736839)
    return layer


def _convert(net: nn.Module) -> Any:
    from torch import nn

    return nn.SyncBatchNorm.convert_sync_batchnorm(net)


def _kept(subject: Subject, *, dimensions: int, options: dict[str, Any], dtype: str) -> Iterator[Observation]:
    """State, settings and flags of a layer that was converted, by itself and inside a net."""
    from torch import nn

    for nested, training, frozen in product((False, True), repeat=3):
        layer = _layer(subject, dimensions, options, dtype).train(training).requires_grad_(not frozen)
        net = nn.Sequential(nn.Sequential(layer)).train(training) if nested else layer
        before = snapshot(net)
        parameters = dict(net.named_parameters())
        converted = _convert(net)
        now = converted[0][0] if nested else converted
        what = f"{'nested' if nested else 'alone'}/{'train' if training else 'eval'}/{'frozen' if frozen else 'free'}"
        yield Observation(f"{what}/class", type(now).__name__, expected="SyncBatchNorm")
        yield Observation(f"{what}/state", same_state(snapshot(converted), before), expected="same")
        devices = {str(one.device) for one in converted.state_dict().values()} or {subject.device}
        yield Observation(f"{what}/devices", "+".join(devices), expected=subject.device)
        same = all(one is parameters[name] for name, one in converted.named_parameters())
        yield Observation(f"{what}/parameters", "the same" if same else "copies", expected="the same")
        trained = {one.requires_grad for one in converted.parameters()} <= {not frozen}
        yield Observation(f"{what}/requires_grad", "kept" if trained else "changed", expected="kept")
        yield Observation(f"{what}/training", str(now.training), expected=str(training))
        settings = ("num_features", "eps", "momentum", "affine", "track_running_stats")
        changed = [name for name in settings if getattr(now, name) != getattr(layer, name)]
        yield Observation(f"{what}/settings", "+".join(changed) or "kept", expected="kept")


def _steps(subject: Subject, *, dimensions: int, options: dict[str, Any]) -> Iterator[Observation]:
    """In one process a converted layer is the plain one, bit for bit; converting it again changes nothing."""
    plain = _layer(subject, dimensions, options)
    once = _convert(copy.deepcopy(plain))
    twice = _convert(_convert(copy.deepcopy(plain)))
    for name, other in (("once", once), ("twice", twice)):
        yield Observation(name, same_steps(subject, copy.deepcopy(plain), other, dimensions), expected="same")


def _kinds(subject: Subject) -> dict[str, tuple[nn.Module, str | None]]:
    """Layers and the class that each is to have afterwards; None for what was accepted."""
    from torch import nn

    sync = "SyncBatchNorm"
    own: dict[str, tuple[nn.Module, str | None]] = {
        "batch_norm1d": (nn.BatchNorm1d(4), sync),
        "batch_norm2d": (nn.BatchNorm2d(4), sync),
        "batch_norm3d": (nn.BatchNorm3d(4), sync),
        "sync_batch_norm": (nn.SyncBatchNorm(4), sync),
        "instance_norm1d": (nn.InstanceNorm1d(4, affine=True, track_running_stats=True), "InstanceNorm1d"),
        "instance_norm2d": (nn.InstanceNorm2d(4, affine=True, track_running_stats=True), "InstanceNorm2d"),
        "instance_norm3d": (nn.InstanceNorm3d(4, affine=True, track_running_stats=True), "InstanceNorm3d"),
        "group_norm": (nn.GroupNorm(2, 4), "GroupNorm"),
        "layer_norm": (nn.LayerNorm(4), "LayerNorm"),
        "local_response_norm": (nn.LocalResponseNorm(2), "LocalResponseNorm"),
        "conv": (nn.Conv2d(4, 4, 3), "Conv2d"),
        "lazy_instance_norm": (nn.LazyInstanceNorm2d(), "LazyInstanceNorm2d"),
        # it has no size yet
        "lazy_batch_norm": (nn.LazyBatchNorm2d(), None),
    }
    return {name: (layer.to(subject.device), due) for name, (layer, due) in own.items()}


def _map(subject: Subject) -> Iterator[Observation]:
    """Checks the class of each layer of converted nets, at every depth and in every container."""
    from torch import nn

    holders: dict[str, tuple[Callable[[nn.Module], nn.Module], Callable[[Any], Any]]] = {
        "itself": (lambda layer: layer, lambda net: net),
        "sequential": (lambda layer: nn.Sequential(nn.ReLU(), layer), lambda net: net[1]),
        "list": (lambda layer: nn.ModuleList([nn.ModuleList([layer])]), lambda net: net[0][0]),
        "dict": (lambda layer: nn.ModuleDict({"one": nn.Sequential(layer)}), lambda net: net["one"][0]),
    }
    for holder, (hold, find) in holders.items():
        for name, (layer, due) in _kinds(subject).items():
            net = hold(layer)
            before = {} if name.startswith("lazy") else snapshot(net)
            converted: list[Any] = []
            outcome = outcome_of(lambda net=net, converted=converted: converted.append(_convert(net)))  # type: ignore[misc]
            if outcome != "returned":
                yield Observation(f"{holder}/{name}", outcome, expected=due)
                continue
            found = find(converted[0])
            yield Observation(f"{holder}/{name}", type(found).__name__, expected=due)
            if due is not None and due != "SyncBatchNorm":
                yield Observation(f"{holder}/{name}/identity", "kept" if found is layer else "new", expected="kept")
            if before:
                yield Observation(f"{holder}/{name}/state", same_state(snapshot(converted[0]), before), expected="same")


def _activated(base: Any, activation: str) -> Any:
    """A subclass of a batch norm layer that does more than that, as those of libraries of models do."""
    from torch.nn import functional

    class Activated(base):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> Any:
            return getattr(functional, activation)(super().forward(x))

    return Activated


def _subclass(subject: Subject, *, dimensions: int) -> Iterator[Observation]:
    """Checks that a subclass still computes what it did, or that there is a warning."""
    import torch
    from torch import nn

    base = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dimensions - 1]
    x = subject.randn(*SHAPES[dimensions])
    for activation, nested in product(("relu", "silu", "gelu"), (False, True)):
        layer = randomize_state(_activated(base, activation)(CHANNELS).to(subject.device)).eval()
        net = nn.Sequential(layer) if nested else layer
        y = net(x)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            outcome = "the same" if torch.allclose(_convert(net).eval()(x), y, rtol=1e-5) else "another"
        what = f"{activation}/{'nested' if nested else 'alone'}/function"
        yield Observation(what, "told" if told else outcome, expected="told" if told else "the same")


def _extras(subject: Subject, *, dimensions: int) -> Iterator[Observation]:
    """Checks attributes and hooks of a layer, and those of quantization."""
    from torch import nn

    calls: list[str] = []
    for holder in ("itself", "sequential"):
        layer = _layer(subject, dimensions, {})
        layer.qconfig = "its own"
        layer.label = "its own"
        layer.register_buffer("more", subject.randn(CHANNELS))
        layer.register_forward_hook(lambda *_: calls.append("forward hook"))
        layer.register_forward_pre_hook(lambda *_: calls.append("forward pre-hook"))
        layer.register_full_backward_hook(lambda *_: calls.append("backward hook"))
        layer.weight.register_hook(lambda _: calls.append("weight's hook"))
        net = _convert(nn.Sequential(layer) if holder == "sequential" else layer)
        found = net[0] if holder == "sequential" else net
        calls.clear()
        y = net(subject.randn(*SHAPES[dimensions]).requires_grad_())
        y.backward(subject.randn(*y.shape, seed=1))
        for name in ("qconfig", "label", "more"):
            yield Observation(f"{holder}/{name}", "kept" if hasattr(found, name) else "lost", expected="kept")
        for name in ("forward hook", "forward pre-hook", "backward hook", "weight's hook"):
            yield Observation(f"{holder}/{name}", "kept" if name in calls else "lost", expected="kept")


def _shared(subject: Subject) -> Iterator[Observation]:
    """Checks that one layer in two places stays one layer."""
    from torch import nn

    layer = _layer(subject, 2, {})
    nets: dict[str, tuple[Any, Callable[[Any], tuple[Any, Any]]]] = {
        "one parent": (nn.Sequential(layer, layer), lambda net: (net[0], net[1])),
        "two parents": (nn.Sequential(nn.Sequential(layer), nn.Sequential(layer)), lambda net: (net[0][0], net[1][0])),
    }
    for name, (net, both) in nets.items():
        converted = _convert(net)
        one, other = both(converted)
        yield Observation(f"{name}/module", "shared" if one is other else "two", expected=None)
        for part in ("weight", "running_mean", "num_batches_tracked"):
            shared = getattr(one, part).data_ptr() == getattr(other, part).data_ptr()
            yield Observation(f"{name}/{part}", "shared" if shared else "two", expected="shared")
        yield Observation(f"{name}/keys", str(len(converted.state_dict())), expected="10")


def _group(subject: Subject) -> Iterator[Observation]:
    """Checks a process group that is passed, and a net without a layer to convert."""
    from torch import nn

    net = nn.Sequential(_layer(subject, 2, {}), nn.Sequential(_layer(subject, 2, {})))
    group = object()
    converted: Any = nn.SyncBatchNorm.convert_sync_batchnorm(net, group)
    for name, layer in (("first", converted[0]), ("nested", converted[1][0])):
        yield Observation(name, "kept" if layer.process_group is group else "lost", expected="kept")
    bare = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
    yield Observation("nothing to convert", "itself" if _convert(bare) is bare else "new", expected="itself")


def _per_layer(subject: Subject) -> Iterator[Observation]:
    """Layers of a net of which some evaluate and some are frozen."""
    from torch import nn

    flags = list(product((True, False), repeat=2))
    net = nn.Sequential(*(_layer(subject, 2, {}).train(mode).requires_grad_(trained) for mode, trained in flags))
    for number, (layer, (mode, trained)) in enumerate(zip(_convert(net), flags, strict=True)):
        yield Observation(f"{number}/training", str(layer.training), expected=str(mode))
        yield Observation(f"{number}/requires_grad", str(layer.weight.requires_grad), expected=str(trained))


def _untracked(subject: Subject, *, dimensions: int) -> Iterator[Observation]:
    """Torch's function for ``torch.func``: no layer tracks afterwards, and each uses its batch."""
    from torch import nn
    from torch.func import replace_all_batch_norm_modules_

    layer = _layer(subject, dimensions, {"momentum": 0.3})
    due = _layer(subject, dimensions, {"track_running_stats": False})
    net = nn.Sequential(nn.Sequential(layer))
    replace_all_batch_norm_modules_(net)
    found: Any = net[0][0]  # type: ignore[index]
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        yield Observation(name, "none" if getattr(found, name) is None else "there", expected="none")
    yield Observation("track_running_stats", str(found.track_running_stats), expected="False")
    yield Observation("steps", same_steps(subject, due, found, dimensions), expected="same")


def cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="sync-conversion", torch_only=True)
    rule = "conversion changes batch norms to synchronised ones, and nothing else"
    for dimensions, (name, options) in product(SHAPES, OPTIONS.items()):
        where = f"batch_norm{dimensions}d/{name}"
        for dtype in ("float32", "float64", "float16"):
            yield case(
                name=f"{where}/kept/{dtype}",
                observe=partial(_kept, dimensions=dimensions, options=options, dtype=dtype),
                rule=rule,
                rows=("A03", "A07"),
                quick=dimensions == 2 and dtype == "float32" and name in {"default", "both=off"},
            )
        yield case(name=f"{where}/steps", observe=partial(_steps, dimensions=dimensions, options=options), rule=rule)
    for dimensions in SHAPES:
        yield case(
            name=f"batch_norm{dimensions}d/subclass",
            observe=partial(_subclass, dimensions=dimensions),
            rule="a subclass still computes what it did, or there is a warning",
            rows=("A05",),
        )
        yield case(
            name=f"batch_norm{dimensions}d/extras",
            observe=partial(_extras, dimensions=dimensions),
            rule="attributes and hooks of a layer are kept by its successor",
            rows=("A08",),
        )
        yield case(
            name=f"batch_norm{dimensions}d/untracked",
            observe=partial(_untracked, dimensions=dimensions),
            rule="replace_all_batch_norm_modules_ leaves layers that use the statistics of their batch",
        )
    yield case(name="map", observe=_map, rule="only batch norms are replaced", rows=("A04",), quick=True)
    yield case(name="shared", observe=_shared, rule="a layer in two places stays shared")
    yield case(name="group", observe=_group, rule="every layer has the process group that was passed")
    yield case(name="per-layer", observe=_per_layer, rule="every layer keeps its own mode", rows=("A07",), quick=True)
