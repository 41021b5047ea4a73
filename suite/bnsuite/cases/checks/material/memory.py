"""Inputs whose memory is counted, layers for them, and the peak of a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnsuite.cases.allocations import held
from bnsuite.cases.checks.case import Subject
from bnsuite.cases.checks.material.arithmetic import randomize_state

if TYPE_CHECKING:
    import torch
    from torch import nn

#: Upper bound of values per channel and an allocator's rounding, over the input's bytes.
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


def make(subject: Subject, of: Input, **options: Any) -> nn.Module:
    layer = randomize_state(subject.batch_norm(of.dimensions, of.shape[1], **options))
    return layer.double() if of.dtype == "float64" else layer


def peak(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor, *, twice: bool = False) -> float:
    """Returns the bytes that a forward and backward pass hold at once beyond `x` and `dy`, over those of `x`."""
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
