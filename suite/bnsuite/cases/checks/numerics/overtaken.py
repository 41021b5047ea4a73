"""Family ``overtaken``: the backward pass of a pass after which the layer's tensors have changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases import precision
from bnsuite.cases.checks.case import CheckNotApplicableError, NumericsCase, Observation, Subject
from bnsuite.cases.checks.material.arithmetic import randomize_state
from bnsuite.cases.checks.material.layouts import lay
from bnsuite.cases.checks.material.other_norms import BATCH, INSTANCE, instance_norm
from bnsuite.cases.checks.material.overtaken import EPS, FREE, MOMENTUM, WAYS, another_batch, due, judged, verdict
from bnsuite.cases.checks.material.states import STATISTICS

if TYPE_CHECKING:
    import torch
    from torch import nn

CHANNELS = 5
#: Inputs by the name of their dimensions in ids.
SHAPES: dict[str, tuple[int, ...]] = {
    "1d/nc": (8, CHANNELS),
    "1d": (6, CHANNELS, 7),
    "2d": (4, CHANNELS, 3, 6),
    "3d": (3, CHANNELS, 2, 3, 4),
}
DTYPES = ("float64", "float32", "bfloat16")


@dataclass(frozen=True)
class _Layer:
    """A norm that keeps statistics, and the mode of the pass that is overtaken."""

    kind: str
    dimensions: str
    training: bool
    affine: bool
    cudnn: bool = True

    @property
    def by(self) -> str:
        if not self.training:
            return "stored"
        return "batch" if self.kind == BATCH else "sample"

    def module(self, subject: Subject, dtype: str) -> nn.Module:
        import torch

        arguments: dict[str, Any] = {"affine": self.affine, "track_running_stats": True, "momentum": MOMENTUM}
        number = int(self.dimensions[0])
        if self.kind == BATCH:
            layer = subject.batch_norm(number, CHANNELS, **arguments)
        else:
            layer = instance_norm(number, CHANNELS, **arguments).to(subject.device)
        return randomize_state(layer).to(getattr(torch, dtype)).train(self.training)

    def ways(self) -> Iterator[str]:
        for way in WAYS:
            if self.affine or way not in {"training-step", "parameters-changed"}:
                yield way


def _layers(subject: Subject, *, layer: _Layer) -> Iterator[Observation]:
    """Every way to move a layer, in every precision and layout of the input."""
    with precision.cudnn(enabled=layer.cudnn):
        for way, dtype in product(layer.ways(), DTYPES):
            seen = list(_overtaken(subject, layer, way, dtype))
            refusable = not (layer.training and way in FREE)
            for what in dict.fromkeys(name for name, _ in seen):
                words = [word for name, word in seen if name == what]
                yield judged(f"{way}/{dtype}/{what}", words, refusable=refusable)


def _overtaken(subject: Subject, layer: _Layer, way: str, dtype: str) -> Iterator[tuple[str, str]]:
    """Yields the verdict on the gradients, and in evaluation on their derivatives, with the name of each."""
    import torch

    shape = SHAPES[layer.dimensions]
    for layout in ("contiguous", "channels-last") if len(shape) > 3 and dtype == "float32" else ("contiguous",):
        for order in ("first order", "second order"):
            if order == "second order" and (layer.training or not layer.affine):
                continue
            module: Any = layer.module(subject, dtype)
            x = lay(subject.randn(*shape, dtype=dtype), layout).requires_grad_()
            dy = subject.randn(*shape, seed=1, dtype=dtype)
            first, second = due({"x": x, **_tensors(module)}, dy, by=layer.by)
            leaves = [x, *module.parameters()]
            y = module(x)
            if order == "first order":
                WAYS[way](module, another_batch(subject, x))
                compute = partial(torch.autograd.grad, y, leaves, dy)
                yield order, verdict(compute, list(first.values()), dtype)
                continue
            (dx,) = torch.autograd.grad(y, x, dy, create_graph=True)
            WAYS[way](module, another_batch(subject, x))
            compute = partial(torch.autograd.grad, dx.square().sum(), [module.weight])
            yield order, verdict(compute, list(second.values()), dtype)


def _tensors(module: Any) -> dict[str, torch.Tensor]:
    names = ("weight", "bias", *STATISTICS)
    return {name: getattr(module, name) for name in names if getattr(module, name) is not None}


#: A call of an operator on its input, weight, bias, running mean and running variance; it returns the output.
Operator = Callable[..., Any]


def _operators() -> dict[str, tuple[Operator, bool | None]]:
    """Returns each operator, and whether it takes the batch's statistics: None if an argument says so."""
    import torch
    from torch.nn import functional

    aten: Any = torch.ops.aten
    settings = (MOMENTUM, EPS)

    def flag(operator: Any, *more: bool) -> Operator:
        return lambda x, w, b, m, v, training: operator(x, w, b, m, v, training, *settings, *more)[0]

    def fixed(operator: Any) -> Operator:
        return lambda x, w, b, m, v, _: operator(x, w, b, m, v, *settings)[0]

    found: dict[str, tuple[Operator, bool | None]] = {
        "batch_norm": (lambda x, w, b, m, v, training: functional.batch_norm(x, m, v, w, b, training, *settings), None),
        "instance_norm": (
            lambda x, w, b, m, v, training: functional.instance_norm(x, m, v, w, b, training, *settings),
            None,
        ),
        "native_batch_norm": (flag(aten.native_batch_norm), None),
        "_native_batch_norm_legit": (flag(aten._native_batch_norm_legit), None),  # noqa: SLF001
        "_batch_norm_impl_index": (flag(aten._batch_norm_impl_index, True), None),  # noqa: SLF001
    }
    for name, training in (
        ("_native_batch_norm_legit_no_training", False),
        ("_batch_norm_no_update", False),
        ("_batch_norm_with_update", True),
    ):
        if hasattr(aten, name):
            found[name] = (fixed(getattr(aten, name)), training)
    return found


READERS = (
    *product(
        ("batch_norm", "instance_norm", "native_batch_norm", "_native_batch_norm_legit", "_batch_norm_impl_index"),
        (True, False),
    ),
    ("_native_batch_norm_legit_no_training", False),
    ("_batch_norm_no_update", False),
    ("_batch_norm_with_update", True),
)


def _movers(subject: Subject) -> dict[str, Callable[..., Any]]:
    """Returns what changes the running statistics: operators in training, and operations in place."""
    import torch

    found: dict[str, Callable[..., Any]] = {
        name: partial(_moved_by, operator)
        for name, (operator, training) in _operators().items()
        if training is not False
    }
    found["batch_norm_update_stats"] = lambda x, _w, _b, m, v: torch.batch_norm_update_stats(x, m, v, MOMENTUM)
    found["mul_"] = lambda _x, _w, _b, m, v: (m.mul_(3), v.mul_(3))
    found["copy_"] = lambda _x, _w, _b, _m, v: v.copy_(v * 3)
    if torch.device(subject.device).type == "cuda" and torch.backends.cudnn.is_available():
        found["cudnn_batch_norm"] = lambda x, w, b, m, v: torch.ops.aten.cudnn_batch_norm(
            x, w, b, m, v, True, MOMENTUM, EPS
        )
    return found


def _moved_by(operator: Operator, *tensors: torch.Tensor) -> None:
    operator(*tensors, True)


def _takes(mover: str, dtype: str, dimensions: str) -> bool:
    """Returns False for inputs that an operator is not made for."""
    if mover == "cudnn_batch_norm":
        return dtype == "float32" and dimensions == "2d"
    return mover != "instance_norm" or dimensions != "1d/nc"


def _by_operators(
    subject: Subject, *, name: str, training: bool, dimensions: str, cudnn: bool
) -> Iterator[Observation]:
    """An operator below the layers, its statistics moved by each of them and by operations in place."""
    import torch

    operators = _operators()
    if name not in operators:
        raise CheckNotApplicableError(f"this torch has no operator {name}")
    operator, _ = operators[name]
    shape = SHAPES[dimensions]
    by = "stored" if not training else "sample" if name == "instance_norm" else "batch"
    with precision.cudnn(enabled=cudnn):
        for mover, move in _movers(subject).items():
            for dtype in ("float32", "float64"):
                if not _takes(mover, dtype, dimensions):
                    continue
                numbers = [subject.randn(CHANNELS, seed=seed, dtype=dtype).abs() + 1.0 for seed in range(2, 6)]
                weight, bias, mean, var = numbers
                x = subject.randn(*shape, dtype=dtype).requires_grad_()
                dy = subject.randn(*shape, seed=1, dtype=dtype)
                leaves = [x, weight.requires_grad_(), bias.requires_grad_()]
                named = dict(zip(("x", "weight", "bias", "running_mean", "running_var"), [x, *numbers], strict=True))
                first, _ = due(named, dy, by=by)
                y = operator(x, *numbers, training)
                with torch.no_grad():
                    move(another_batch(subject, x.detach()), weight.detach(), bias.detach(), mean, var)
                word = verdict(partial(torch.autograd.grad, y, leaves, dy), list(first.values()), dtype)
                yield judged(f"{mover}/{dtype}", [word])


RULE = "a backward pass after what it needs has changed is right, or refused, and never wrong without a word"


def cases() -> Iterator[NumericsCase]:
    """Every check, and on CUDA a second time with cuDNN off."""
    case: Callable[..., NumericsCase] = partial(NumericsCase, group="overtaken", rule=RULE)
    for cudnn, kind, dimensions, training, affine in product(
        (True, False), (BATCH, INSTANCE), SHAPES, (False, True), (True, False)
    ):
        if kind == INSTANCE and dimensions == "1d/nc":
            continue
        own = kind == BATCH
        where = f"{kind}{dimensions}" if own else f"{kind}/{dimensions}"
        mode = "train" if training else "eval"
        yield case(
            name=f"{where}/{mode}/affine={'on' if affine else 'off'}{'' if cudnn else '/cudnn=off'}",
            observe=partial(_layers, layer=_Layer(kind, dimensions, training, affine, cudnn)),
            rows=("S03",) if own and not training else (),
            torch_only=not own,
            gpu_only=not cudnn,
            quick=own and cudnn and affine and dimensions == "2d",
        )
    for cudnn, (name, training), dimensions in product((True, False), READERS, ("1d/nc", "1d", "2d")):
        if name == "instance_norm" and dimensions == "1d/nc":
            continue
        yield case(
            name=f"operators/{name}/{'train' if training else 'eval'}/{dimensions}{'' if cudnn else '/cudnn=off'}",
            observe=partial(_by_operators, name=name, training=training, dimensions=dimensions, cudnn=cudnn),
            rows=("S04",) if not training and "native" in name else (),
            torch_only=True,
            gpu_only=not cudnn,
        )
