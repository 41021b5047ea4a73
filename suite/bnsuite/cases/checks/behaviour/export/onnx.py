"""Layers written to ONNX by torch's two exporters and run by onnxruntime, on a CPU."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bnsuite.cases import implementation
from bnsuite.cases.checks.behaviour.export import exporters
from bnsuite.cases.checks.case import BehaviourCase, Observation, Subject
from bnsuite.cases.checks.material import networks
from bnsuite.cases.checks.material.arithmetic import error_ratio, randomize_state, reference_step, state_of

if TYPE_CHECKING:
    import torch
    from torch import nn

NEEDS = ("onnx", "onnxruntime")
#: The most an error of another runtime may be, in errors of a two-pass composite.
LIMIT = 30.0
OPTIONS: dict[str, dict[str, Any]] = {
    "momentum=0.3+eps=0.01": {"momentum": 0.3, "eps": 1e-2},
    "affine=off": {"affine": False},
    "tracking=off": {"track_running_stats": False},
}


@dataclass(frozen=True)
class Model:
    """A written model: the bytes of the file, and its graph."""

    data: bytes
    graph: Any

    def run(self, x: torch.Tensor) -> list[torch.Tensor]:
        import onnxruntime
        import torch

        session = onnxruntime.InferenceSession(self.data, providers=["CPUExecutionProvider"])
        return [torch.from_numpy(one) for one in session.run(None, {session.get_inputs()[0].name: x.numpy()})]

    def norms(self) -> list[dict[str, Any]]:
        """Attributes of the batch norm nodes, by name."""
        import onnx

        return [
            {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            for node in self.graph.node
            if node.op_type == "BatchNormalization"
        ]


def _write(layer: nn.Module, x: torch.Tensor, *, dynamo: bool) -> Model:
    """A copy of `layer`, written in the mode that it is in."""
    import onnx
    import torch

    options: dict[str, Any] = {"dynamo": dynamo}
    if not dynamo:
        options.update(training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=not layer.training)
    file: Any = io.BytesIO()  # torch's annotations name paths only
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(copy.deepcopy(layer), (x,), None if dynamo else file, verbose=False, **options)
    finally:
        logging.disable(before)
    if program is not None:
        program.save(file)
    data = file.getvalue()
    return Model(data, onnx.load_from_string(data).graph)


def _layer(
    _: Subject, *, shape: tuple[int, ...], options: dict[str, Any], training: bool, dynamo: bool
) -> Iterator[Observation]:
    here = Subject("cpu")
    layer = randomize_state(here.batch_norm(max(1, len(shape) - 2), shape[1], **options)).train(training)
    x = here.randn(*shape)
    model = _write(layer, x, dynamo=dynamo)
    start = state_of(layer, eps=options.get("eps", 1e-5), momentum=options.get("momentum", 0.1))
    outputs = model.run(x)
    yield Observation("outputs", str(len(outputs)), expected="1")
    exact, rounded = (reference_step(start, x, None, exact=one).y for one in (True, False))
    assert exact is not None
    assert rounded is not None
    yield Observation("y", error_ratio(outputs[0], exact, rounded), LIMIT)
    if implementation.named() is None and "momentum" in options:
        norms = model.norms()
        yield Observation("nodes", str(len(norms)), expected="1")
        for norm in norms[:1]:
            yield Observation("epsilon", f"{norm.get('epsilon', 1e-5):.4g}", expected=f"{options['eps']:.4g}")
            # ONNX's momentum is the weight of the old statistics, torch's that of the new ones.
            momentum = f"{1 - norm.get('momentum', 0.9):.4g}"
            yield Observation("momentum", momentum, expected=f"{options['momentum']:.4g}")
            yield Observation("training_mode", str(norm.get("training_mode", 0)), expected=str(int(training)))


def _mixed(_: Subject, *, dimensions: int, dynamo: bool) -> Iterator[Observation]:
    """A network whose first norm is frozen and whose second trains."""
    here = Subject("cpu")
    x, _weights = networks.batch(here, dimensions, 4, 0, 0)
    net = networks.network(here, dimensions, {}, frozen=True)
    networks.set_training(net, training=True, frozen=True)
    model = _write(net, x, dynamo=dynamo)
    if implementation.named() is None:
        # The frozen one may have been folded into its convolution.
        modes = ["train" if norm.get("training_mode", 0) else "eval" for norm in model.norms()]
        yield Observation("the norm that trains", modes[-1] if modes else "folded", expected="train")
    yield Observation("y", _far(model.run(x)[0], net(x).detach()), exporters.ROUNDING)


def _network(_: Subject, *, dimensions: int, dynamo: bool) -> Iterator[Observation]:
    here = Subject("cpu")
    x, _weights = networks.batch(here, dimensions, 4, 0, 0)
    net = networks.network(here, dimensions, {}).eval()
    yield Observation("y", _far(_write(net, x, dynamo=dynamo).run(x)[0], net(x).detach()), exporters.ROUNDING)


def _instance_norm(_: Subject, *, shape: tuple[int, ...], dynamo: bool) -> Iterator[Observation]:
    from torch import nn

    here = Subject("cpu")
    kinds = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}
    layer = randomize_state(kinds[len(shape)](shape[1], affine=True, track_running_stats=True)).eval()
    x = here.randn(*shape)
    yield Observation("y", _far(_write(layer, x, dynamo=dynamo).run(x)[0], layer(x).detach()), exporters.ROUNDING)


def _far(seen: torch.Tensor, truth: torch.Tensor) -> float:
    return float((seen - truth).abs().max() / truth.abs().max())


def cases() -> Iterator[BehaviourCase]:
    for dynamo in (True, False):
        exporter = "dynamo" if dynamo else "torchscript"
        needs = (*NEEDS, "onnxscript") if dynamo else NEEDS
        case = partial(BehaviourCase, group="export", needs=needs, limit_s=120.0)
        for shape_name, shape in exporters.SHAPES.items():
            for option, options in OPTIONS.items():
                for training in (False, True) if shape_name == "2d" else (False,):
                    rows: tuple[str, ...] = ("A29",) if option == "tracking=off" and not training else ()
                    rows = (*rows, "A27") if "momentum" in options and not training else rows
                    yield case(
                        name=f"onnx-{exporter}/{'train' if training else 'eval'}/{shape_name}/{option}",
                        observe=partial(_layer, shape=shape, options=options, training=training, dynamo=dynamo),
                        rule="a layer written to ONNX computes what it does in the same mode",
                        rows=rows,
                    )
        yield case(
            name=f"onnx-{exporter}/mixed",
            observe=partial(_mixed, dimensions=2, dynamo=dynamo),
            rule="a frozen norm and one that trains are exported as what they are",
            rows=("A28",),
        )
        for dimensions in (1, 2, 3):
            yield case(
                name=f"onnx-{exporter}/network/{dimensions}d",
                observe=partial(_network, dimensions=dimensions, dynamo=dynamo),
                rule="folding a norm changes no output",
            )
        for shape_name in ("1d", "2d", "3d"):
            yield case(
                name=f"onnx-{exporter}/instance_norm/{shape_name}",
                observe=partial(_instance_norm, shape=exporters.SHAPES[shape_name], dynamo=dynamo),
                rule="an exported InstanceNorm uses its running statistics as the layer does",
                rows=("A31",),
                torch_only=True,
            )
