"""Layers that are scripted, traced and exported."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from bnsuite.cases import gpu_errors, implementation, precision
from bnsuite.cases.checks.behaviour.export import exporters
from bnsuite.cases.checks.case import BOUNDLESS, BehaviourCase, Observation, Subject
from bnsuite.cases.checks.material import networks
from bnsuite.cases.checks.material.arithmetic import compare, layer_step, randomize_state, reference_step, state_of
from bnsuite.cases.checks.material.states import snapshot

if TYPE_CHECKING:
    import torch
    from torch import nn

OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "momentum=0.3+eps=0.01": {"momentum": 0.3, "eps": 1e-2},
    "momentum=none": {"momentum": None},
    "affine=off": {"affine": False},
    "tracking=off": {"track_running_stats": False},
}


def _layer(subject: Subject, shape: tuple[int, ...], options: dict[str, Any]) -> nn.Module:
    return randomize_state(subject.batch_norm(max(1, len(shape) - 2), shape[1], **options))


def _try(exporter: exporters.Way, layer: nn.Module, x: torch.Tensor) -> tuple[Any, str]:
    """Returns the exported layer and "done", or None and the name of the error."""
    try:
        return exporters.exported(exporter, layer, x), "done"
    except Exception as error:  # noqa: BLE001  # whatever refuses the layer is an outcome
        gpu_errors.note(error)
        return None, type(error).__name__


def _steps(
    subject: Subject,
    made: Any,
    twin: nn.Module,
    shape: tuple[int, ...],
    options: dict[str, Any],
    *,
    prefix: str = "",
    backward: bool = True,
) -> Iterator[Observation]:
    """Steps of `made`, each held to two-pass arithmetic from the state before it, which `twin` takes on."""
    settings = {"eps": options.get("eps", 1e-5), "momentum": options.get("momentum", 0.1)}
    for number in range(2):
        twin.load_state_dict(made.state_dict())
        start = state_of(twin, **settings)
        x = subject.randn(*shape, seed=10 + number)
        dy = subject.randn(*shape, seed=20 + number) if backward else None
        seen = layer_step(made, x, dy)
        yield from compare(
            seen,
            *(reference_step(start, x, dy, exact=exact) for exact in (True, False)),
            prefix=f"{prefix}step {number}: ",
        )
        counter = made.state_dict().get("num_batches_tracked")
        if counter is not None:
            expected = str(start.counted + start.training)
            yield Observation(f"{prefix}step {number}: num_batches_tracked", str(int(counter)), expected=expected)


def _step(
    subject: Subject, *, exporter: exporters.Way, shape: tuple[int, ...], options: dict[str, Any], training: bool
) -> Iterator[Observation]:
    layer = _layer(subject, shape, options).train(training)
    made, word = _try(exporter, layer, subject.randn(*shape))
    yield Observation("outcome", word, expected="done")
    if made is not None:
        larger = (shape[0] + 3, *shape[1:]) if exporter is exporters.export_dynamic else shape
        # A decomposed program is for inference: it writes buffers that a backward pass would read.
        backward = exporter is not exporters.export_decomposed
        yield from _steps(subject, made, layer, larger, options, backward=backward)


def _toggled(
    subject: Subject, *, exporter: exporters.Way, shape: tuple[int, ...], options: dict[str, Any], training: bool
) -> Iterator[Observation]:
    """Exports in one mode and runs in the other, and then in the first again."""
    layer = _layer(subject, shape, options).train(training)
    made, word = _try(exporter, layer, subject.randn(*shape))
    yield Observation("outcome", word, expected="done")
    if made is None:
        return
    for mode in (not training, training):
        made.train(mode)
        layer.train(mode)
        name = "train" if mode else "eval"
        yield Observation(f"{name}: flag", str(made.training), expected=str(mode))
        yield from _steps(subject, made, layer, shape, options, prefix=f"{name}: ")


def _stays(
    subject: Subject, *, exporter: exporters.Way, shape: tuple[int, ...], training: bool
) -> Iterator[Observation]:
    """Switches a program that keeps its mode by design: it refuses, follows or stays."""
    import torch

    layer = _layer(subject, shape, {}).train(training)
    made, word = _try(exporter, layer, subject.randn(*shape))
    yield Observation("outcome", word, expected="done")
    if made is None:
        return
    try:
        made.train(not training)
    except Exception as error:  # noqa: BLE001  # any refusal
        gpu_errors.note(error)
        yield Observation("toggled", type(error).__name__)
        return
    x = subject.randn(*shape, seed=3)
    layer.load_state_dict(made.state_dict())
    with torch.no_grad():
        y = made(x)
        same, other = (copy.deepcopy(layer).train(mode)(x) for mode in (training, not training))
    follows = (y - other).abs().max() < (y - same).abs().max()
    yield Observation("toggled", "follows" if follows else "stays")


def _nodes(made: Any) -> list[dict[str, Any]]:
    """Constant arguments of the batch norm operators of an exported graph, by name."""
    if hasattr(made, "inlined_graph"):
        names = ("training", "momentum", "eps")
        graph = made.inlined_graph  # nodes live no longer than it
        return [
            {name: node.inputsAt(5 + place).toIValue() for place, name in enumerate(names)}
            for node in graph.findAllNodes("aten::batch_norm")
        ]
    found = []
    for node in made.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is not None and "batch_norm" in schema.name:
            arguments = {one.name: value for one, value in zip(schema.arguments, node.args, strict=False)}
            arguments.setdefault("training", arguments.pop("train", "no_training" not in schema.name))
            found.append(arguments)
    return found


def _attributes(subject: Subject, *, exporter: exporters.Way, training: bool) -> Iterator[Observation]:
    import torch

    settings = {"momentum": 0.3, "eps": 1e-2}
    layer = _layer(subject, exporters.SHAPES["2d"], settings).train(training)
    made = exporters.exported(exporter, layer, subject.randn(*exporters.SHAPES["2d"]))
    if isinstance(made, torch.jit.ScriptModule) and hasattr(made, "momentum"):
        for name, value in settings.items():
            yield Observation(name, str(getattr(made, name)), expected=str(value))
        return
    nodes = _nodes(made)
    yield Observation("operators", str(len(nodes)), expected="1")
    for node in nodes[:1]:
        for name, value in {**settings, "training": training}.items():
            yield Observation(name, str(node.get(name)), expected=str(value))


def _mixed(subject: Subject, *, exporter: exporters.Way, dimensions: int) -> Iterator[Observation]:
    """A network whose first norm is frozen and whose second trains."""
    x, _ = networks.batch(subject, dimensions, 4, 0, 0)
    net = networks.network(subject, dimensions, {}, frozen=True)
    networks.set_training(net, training=True, frozen=True)
    made = exporters.exported(exporter, net, x)
    nodes = (
        _nodes(made)
        if implementation.named() is None
        and exporter in (exporters.trace, exporters.export, exporters.export_decomposed)
        else []
    )
    if nodes:
        flags = "+".join("train" if node["training"] else "eval" for node in nodes)
        yield Observation("modes", flags, expected="eval+train")
    net.load_state_dict(made.state_dict())
    before = snapshot(net)
    y, truth = made(x), net(x)
    yield Observation("y", far(y, truth), exporters.ROUNDING)
    after, right_after = made.state_dict(), net.state_dict()
    frozen = [name for name in before if name.startswith("1.")]
    changed = [name for name in frozen if not before[name].equal(after[name])]
    yield Observation("frozen norm", "changed" if changed else "kept", expected="kept")
    statistics = [name for name in before if name.startswith("4.") and name not in dict(net.named_parameters())]
    worst = max(far(after[name].double(), right_after[name].double()) for name in statistics)
    yield Observation("running statistics", worst, exporters.ROUNDING)


def _frozen_script(subject: Subject, *, dimensions: int, optimized: bool) -> Iterator[Observation]:
    """A scripted network, its norms folded into its convolutions where that can be."""
    import torch

    x, _ = networks.batch(subject, dimensions, 4, 0, 0)
    net = networks.network(subject, dimensions, {}).eval()
    # Folding changes the weights that TF32 would round.
    exactly = precision.cudnn(allow_tf32=False)
    with torch.no_grad(), exactly:
        frozen = exporters.exported(lambda layer, _: torch.jit.freeze(torch.jit.script(layer)), net, x)
        if optimized:
            frozen = torch.jit.optimize_for_inference(frozen)
        for _ in range(3):  # what runs first is not what runs once profiled
            made = frozen(x)
        yield Observation("y", far(made, net(x)), exporters.ROUNDING)


def _instance_norm(
    subject: Subject, *, exporter: exporters.Way, shape: tuple[int, ...], training: bool
) -> Iterator[Observation]:
    from torch import nn

    kinds = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}
    norm = kinds[len(shape)](shape[1], affine=True, track_running_stats=True)
    layer = randomize_state(norm).to(subject.device).train(training)
    made = exporters.exported(exporter, layer, subject.randn(*shape))
    layer.load_state_dict(made.state_dict())
    x = subject.randn(*shape, seed=4)
    yield Observation("y", far(made(x), layer(x)), exporters.ROUNDING)
    after, truth = made.state_dict(), layer.state_dict()
    for name in ("running_mean", "running_var"):
        yield Observation(name, far(after[name], truth[name]), exporters.ROUNDING)


def far(seen: torch.Tensor, truth: torch.Tensor) -> float:
    """Returns the largest difference over the largest number; 1e30 if it is undefined."""
    import torch

    if seen.shape != truth.shape or not torch.isfinite(seen).all():
        return BOUNDLESS
    return float((seen.detach() - truth.detach()).abs().max() / truth.detach().abs().max().clamp_min(1e-12))


def cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="export")
    for exporter_name, exporter in exporters.WAYS.items():
        for training in (True, False):
            mode = "train" if training else "eval"
            for shape_name, shape in exporters.SHAPES.items():
                for option, options in OPTIONS.items():
                    if not _sensible(exporter_name, shape_name, option):
                        continue
                    yield case(
                        name=f"{exporter_name}/{mode}/{shape_name}/{option}",
                        observe=partial(_step, exporter=exporter, shape=shape, options=options, training=training),
                        rule="an exported layer computes and updates what the layer does",
                        rows=("T19",)
                        if exporter_name.startswith("export") and training and option == "default"
                        else (),
                        quick=exporter_name in {"script", "trace"} and (shape_name, option) == ("2d", "default"),
                    )
            yield from _modes(case, exporter_name, exporter, training=training)
    yield from _networks(case)


def _sensible(exporter: str, shape: str, option: str) -> bool:
    """Returns False for combinations that are covered by others."""
    if exporter == "script":
        return True
    if exporter in {"trace", "export"}:
        return shape == "2d" or option == "default"
    return (shape, option) in {("2d", "default"), ("1d", "affine=off")}


def _modes(
    case: Callable[..., BehaviourCase], exporter_name: str, exporter: exporters.Way, *, training: bool
) -> Iterator[BehaviourCase]:
    mode = "train" if training else "eval"
    if exporter_name.startswith("script"):
        for option, options in OPTIONS.items():
            yield case(
                name=f"{exporter_name}/{mode}/toggled/{option}",
                observe=partial(
                    _toggled, exporter=exporter, shape=exporters.SHAPES["2d"], options=options, training=training
                ),
                rule="a scripted layer follows its training flag",
                rows=("A26",),
                quick=option == "default" and exporter_name == "script",
            )
    else:
        yield case(
            name=f"{exporter_name}/{mode}/toggled",
            observe=partial(_stays, exporter=exporter, shape=exporters.SHAPES["2d"], training=training),
            rule="a layer exported in one mode behaves as accepted when switched to the other",
            rows=("A26",),
        )
    if exporter_name != "export-saved":
        yield case(
            name=f"{exporter_name}/{mode}/attributes",
            observe=partial(_attributes, exporter=exporter, training=training),
            rule="an exported layer has the layer's momentum, eps and mode",
            rows=("A27",) if not training else (),
            torch_only=True,
        )


def _networks(case: Callable[..., BehaviourCase]) -> Iterator[BehaviourCase]:
    for exporter_name in ("script", "trace", "export", "export-decomposed"):
        for dimensions in (2,) if exporter_name == "export-decomposed" else (1, 2, 3):
            yield case(
                name=f"{exporter_name}/mixed/{dimensions}d",
                observe=partial(_mixed, exporter=exporters.WAYS[exporter_name], dimensions=dimensions),
                rule="a frozen norm and one that trains are exported as what they are",
                rows=("A28",),
            )
        for shape_name in ("2d",) if exporter_name == "export-decomposed" else ("1d", "2d", "3d"):
            for training in (True, False):
                yield case(
                    name=f"{exporter_name}/instance_norm/{shape_name}/{'train' if training else 'eval'}",
                    observe=partial(
                        _instance_norm,
                        exporter=exporters.WAYS[exporter_name],
                        shape=exporters.SHAPES[shape_name],
                        training=training,
                    ),
                    rule="an exported InstanceNorm uses and updates its running statistics as the layer does",
                    rows=("A31",) if not training else (),
                    torch_only=True,
                )
    for dimensions in (1, 2, 3):
        for optimized in (False, True):
            yield case(
                name=f"script/{'optimized' if optimized else 'frozen'}/{dimensions}d",
                observe=partial(_frozen_script, dimensions=dimensions, optimized=optimized),
                rule="folding a norm changes no output",
            )
