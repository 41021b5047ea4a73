"""Family ``saved-tensors``: the activations that a layer keeps for its backward pass.

Bytes are exact, from torch's allocators, as multiples of the input's. The bytes have an upper bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from bnsuite.cases.allocations import held
from bnsuite.cases.checks.case import BehaviourCase, CheckNotApplicableError, Observation, Subject
from bnsuite.cases.checks.material.arithmetic import randomize_state
from bnsuite.cases.checks.material.memory import INPUTS, PLAIN, SLACK, Input, make, peak

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Mode:
    """A forward pass, and the most bytes it may keep beyond its output, over the input's."""

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
    """Returns the bytes kept after a forward pass beside its output, the input among them, over those of `x`."""
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
    layer = make(subject, of, **mode.options).train(mode.training).requires_grad_(mode.parameters_grad)
    x = of.made(subject).requires_grad_(mode.input_grad)
    yield Observation("kept/input", _kept(layer, x, grad=mode.grad), mode.keeps + SLACK)


def _torchvision_frozen(subject: Subject) -> Iterator[Observation]:
    from torchvision.ops import FrozenBatchNorm2d

    layer = randomize_state(FrozenBatchNorm2d(PLAIN.shape[1])).to(subject.device)
    yield Observation("kept/input", _kept(layer, PLAIN.made(subject).requires_grad_(), grad=True), SLACK)


def _compiled(subject: Subject, *, training: bool) -> Iterator[Observation]:
    import torch

    layer = make(subject, PLAIN).train(training)
    x, dy = PLAIN.made(subject), PLAIN.made(subject, 1)
    leaf = x.detach().requires_grad_()
    try:
        compiled = cast("nn.Module", torch.compile(layer))
        try:
            compiled(x)
        except Exception as error:
            raise CheckNotApplicableError(f"torch.compile does not work here: {type(error).__name__}") from error
        eager_peak, compiled_peak = (peak(one, x, dy) for one in (layer, compiled))
        eager_kept, kept = (_kept(one, leaf, grad=True) for one in (layer, compiled))
    finally:
        torch.compiler.reset()
    yield Observation("peak/eager", compiled_peak / eager_peak, 1.0 + SLACK)
    yield Observation("kept above eager", kept - eager_kept, SLACK)


def cases() -> Iterator[BehaviourCase]:
    case = partial(
        BehaviourCase,
        group="saved-tensors",
        rule="only the input is kept for the backward pass, and nothing where no gradient needs it",
    )
    for of in INPUTS:
        for name, mode in MODES.items():
            if name in WITHOUT_NEED and of not in (PLAIN, INPUTS[0], INPUTS[-2]):
                continue
            yield case(
                name=f"{of.name}/{name}",
                observe=partial(_keeps, of=of, mode=mode),
                rows=("M14",) if name in {"train", "eval", "eval/parameters-frozen"} else (),
                quick=of is PLAIN and name in {"train", "eval/no-grad"},
            )
    yield case(
        name="torchvision-frozen", observe=_torchvision_frozen, rows=("M14",), torch_only=True, needs=("torchvision",)
    )
    for training in (True, False):
        yield case(
            name=f"{PLAIN.name}/{'train' if training else 'eval'}/compiled",
            observe=partial(_compiled, training=training),
            limit_s=180.0,
        )
