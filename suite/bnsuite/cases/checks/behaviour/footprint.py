"""M-STEP, M-EVAL: what a step holds at its peak and keeps for its backward pass; and M-LEAK, from ``leaks.py``.

Bytes are exact, from torch's allocators, and told as multiples of the input's. What a layer needs at its peak is its
own affair and compared with what was accepted; what it may keep has bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from bnsuite.cases.allocations import held
from bnsuite.cases.checks.behaviour import leaks
from bnsuite.cases.checks.case import BehaviourCase, CannotLookError, Observation, Subject
from bnsuite.cases.checks.reference import unsettle

if TYPE_CHECKING:
    import torch
    from torch import nn

#: What values per channel and an allocator's rounding come to at the most, over the input's bytes.
SLACK = 0.05


@dataclass(frozen=True)
class Input:
    """An input by its shape, (N, C) or (N, C, ...), and layout."""

    name: str
    dimensions: int
    shape: tuple[int, ...]
    dtype: str = "float32"
    last: bool = False

    def made(self, subject: Subject, seed: int = 0) -> torch.Tensor:
        import torch

        made = subject.randn(*self.shape, seed=seed, dtype=self.dtype)
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        return made.contiguous(memory_format=formats[made.dim()]) if self.last else made


INPUTS = (
    Input("batch_norm1d/512x128", 1, (512, 128)),
    Input("batch_norm1d/16x64x50", 1, (16, 64, 50)),
    Input("batch_norm2d/8x64x20x20", 2, (8, 64, 20, 20)),
    Input("batch_norm2d/8x64x20x20/channels-last", 2, (8, 64, 20, 20), last=True),
    Input("batch_norm2d/8x64x20x20/f64", 2, (8, 64, 20, 20), "float64"),
    Input("batch_norm2d/8x64x20x20/bf16", 2, (8, 64, 20, 20), "bfloat16"),
    Input("batch_norm2d/8x64x20x20/bf16/channels-last", 2, (8, 64, 20, 20), "bfloat16", last=True),
    Input("batch_norm2d/2x3x128x128", 2, (2, 3, 128, 128)),
    Input("batch_norm2d/128x256x2x2", 2, (128, 256, 2, 2)),
    Input("batch_norm3d/4x32x4x10x10", 3, (4, 32, 4, 10, 10)),
    Input("batch_norm3d/4x32x4x10x10/channels-last", 3, (4, 32, 4, 10, 10), last=True),
)
PLAIN = INPUTS[2]
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "affine=off": {"affine": False},
    "tracking=off": {"track_running_stats": False},
}


def _layer(subject: Subject, of: Input, **options: Any) -> nn.Module:
    layer = unsettle(subject.batch_norm(of.dimensions, of.shape[1], **options))
    return layer.double() if of.dtype == "float64" else layer


def _peak(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor, *, twice: bool = False) -> float:
    """Bytes over those of `x` that a forward and backward pass hold at once beyond `x` and `dy`."""
    import torch

    def step() -> None:
        leaf = x.detach().requires_grad_()
        y = layer(leaf)
        if twice:
            (slope,) = torch.autograd.grad(y, leaf, dy, create_graph=True)
            slope.backward(dy)
        else:
            y.backward(dy)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # some layers hold a buffer a thread
    try:
        step()  # the first leaves behind what torch and its libraries load and keep
        for parameter in layer.parameters():
            parameter.grad = None
        return held(step, str(x.device)).peak / x.nbytes
    finally:
        torch.set_num_threads(threads)


def _step(
    subject: Subject, *, of: Input, training: bool, options: dict[str, Any], twice: bool = False
) -> Iterator[Observation]:
    layer = _layer(subject, of, **options).train(training)
    yield Observation("peak/input", _peak(layer, of.made(subject), of.made(subject, 1), twice=twice))


def _other_norm(subject: Subject, *, norm: str, last: bool) -> Iterator[Observation]:
    from torch import nn

    of = Input("", 2, PLAIN.shape, last=last)
    channels = of.shape[1]
    made: dict[str, Callable[[], nn.Module]] = {
        "group_norm": lambda: nn.GroupNorm(8, channels),
        "layer_norm": lambda: nn.LayerNorm(of.shape[1:]),
        "instance_norm": lambda: nn.InstanceNorm2d(channels, affine=True),
    }
    x, dy = of.made(subject), of.made(subject, 1)
    peak = _peak(made[norm]().to(subject.device), x, dy)
    plain = _peak(nn.BatchNorm2d(channels).to(subject.device), x, dy)
    yield Observation("peak/input", peak)
    limit = 1.0 + SLACK if norm == "group_norm" else None
    yield Observation("peak/batch_norm2d", peak / plain, limit)


@dataclass(frozen=True)
class Mode:
    """How a layer runs forward, and what it may keep: the most bytes beyond its output, over the input's."""

    training: bool
    keeps: float
    input_grad: bool = True
    parameters_grad: bool = True
    grad: bool = True
    options: dict[str, Any] = field(default_factory=dict)


MODES = {
    "train": Mode(training=True, keeps=1.0),
    "train/parameters-frozen": Mode(training=True, keeps=1.0, parameters_grad=False),
    "train/input-frozen": Mode(training=True, keeps=1.0, input_grad=False),
    "train/all-frozen": Mode(training=True, keeps=0.0, input_grad=False, parameters_grad=False),
    "train/affine=off": Mode(training=True, keeps=1.0, options={"affine": False}),
    "train/no-grad": Mode(training=True, keeps=0.0, grad=False),
    "eval": Mode(training=False, keeps=1.0),
    "eval/parameters-frozen": Mode(training=False, keeps=0.0, parameters_grad=False),
    "eval/affine=off": Mode(training=False, keeps=0.0, options={"affine": False}),
    "eval/all-frozen": Mode(training=False, keeps=0.0, input_grad=False, parameters_grad=False),
    "eval/no-grad": Mode(training=False, keeps=0.0, grad=False),
    "eval/no-grad/tracking=off": Mode(training=False, keeps=0.0, grad=False, options={"track_running_stats": False}),
}


#: Modes in which no gradient depends on the input, and layers are known to keep it all the same: a few inputs will do.
WITHOUT_NEED = ("eval/parameters-frozen", "eval/affine=off")


def _kept(layer: nn.Module, x: torch.Tensor, *, grad: bool) -> float:
    """Bytes over those of `x` that live on after a forward pass beside its output, the input among them."""
    import torch

    outputs: list[torch.Tensor] = []

    def forward() -> None:
        outputs.clear()
        with torch.set_grad_enabled(grad):
            outputs.append(layer(x * 1.0))  # a tensor between two layers: it lives on only if it is kept

    forward()
    outputs.clear()
    return (held(forward, str(x.device)).net - outputs[0].nbytes) / x.nbytes


def _keeps(subject: Subject, *, of: Input, mode: Mode) -> Iterator[Observation]:
    layer = _layer(subject, of, **mode.options).train(mode.training).requires_grad_(mode.parameters_grad)
    x = of.made(subject).requires_grad_(mode.input_grad)
    yield Observation("kept/input", _kept(layer, x, grad=mode.grad), mode.keeps + SLACK)


def _torchvision_frozen(subject: Subject) -> Iterator[Observation]:
    from torchvision.ops import FrozenBatchNorm2d

    layer = unsettle(FrozenBatchNorm2d(PLAIN.shape[1])).to(subject.device)
    yield Observation("kept/input", _kept(layer, PLAIN.made(subject).requires_grad_(), grad=True), SLACK)


def _compiled(subject: Subject, *, training: bool) -> Iterator[Observation]:
    import torch

    layer = _layer(subject, PLAIN).train(training)
    x, dy = PLAIN.made(subject), PLAIN.made(subject, 1)
    leaf = x.detach().requires_grad_()
    try:
        compiled = cast("nn.Module", torch.compile(layer))
        try:
            compiled(x)
        except Exception as error:
            raise CannotLookError(f"torch.compile does not work here: {type(error).__name__}") from error
        eager_peak, peak = (_peak(one, x, dy) for one in (layer, compiled))
        eager_kept, kept = (_kept(one, leaf, grad=True) for one in (layer, compiled))
    finally:
        torch.compiler.reset()
    yield Observation("peak/eager", peak / eager_peak, 1.0 + SLACK)
    yield Observation("kept above eager", kept - eager_kept, SLACK)


def cases() -> Iterator[BehaviourCase]:
    yield from _step_cases()
    yield from _eval_cases()
    yield from leaks.cases()


def _step_cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="M-STEP", rule="a step takes no more memory at its peak than was accepted")
    for of in INPUTS:
        for training in (True, False):
            for option, options in OPTIONS.items():
                mode = "train" if training else "eval"
                yield case(
                    name=f"{of.name}/{mode}/{option}",
                    look=partial(_step, of=of, training=training, options=options),
                    rows=("M11",),
                    quick=of in (PLAIN, INPUTS[0]) and option == "default",
                )
        yield case(
            name=f"{of.name}/train/double-backward",
            look=partial(_step, of=of, training=True, options={}, twice=True),
            rows=("M11",),
        )
    for norm in ("group_norm", "layer_norm", "instance_norm"):
        for last in (False, True):
            yield case(
                name=f"{norm}/{'channels-last' if last else 'contiguous'}",
                look=partial(_other_norm, norm=norm, last=last),
                rows=("M13",) if norm == "group_norm" else (),
                torch_only=True,
            )


def _eval_cases() -> Iterator[BehaviourCase]:
    case = partial(
        BehaviourCase, group="M-EVAL", rule="no activation is kept but the input, and none where no gradient needs it"
    )
    for of in INPUTS:
        for name, mode in MODES.items():
            if name in WITHOUT_NEED and of not in (PLAIN, INPUTS[0], INPUTS[-2]):
                continue
            yield case(
                name=f"{of.name}/{name}",
                look=partial(_keeps, of=of, mode=mode),
                rows=("M14",) if name in {"train", "eval", "eval/parameters-frozen"} else (),
                quick=of is PLAIN and name in {"train", "eval/no-grad"},
            )
    yield case(
        name="torchvision-frozen", look=_torchvision_frozen, rows=("M14",), torch_only=True, needs=("torchvision",)
    )
    for training in (True, False):
        yield case(
            name=f"{PLAIN.name}/{'train' if training else 'eval'}/compiled",
            look=partial(_compiled, training=training),
            limit_s=180.0,
        )
