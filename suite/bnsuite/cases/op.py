"""Family ``op``: one call of a normalization layer."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, ClassVar

from bnsuite.cases.case import Case, Step

if TYPE_CHECKING:
    import torch

FLOAT32_BYTES = 4

#: Passes over the activation that one step can't do without: how often it is read or written once.
#: Forward in training reads x for the statistics, reads it again to normalize, and writes y. The backward
#: pass reads x and dy for the two sums, reads both again for dx, and writes dx.
PASSES = {"fwd-train": 3, "fwd-eval": 2, "fwd+bwd": 3 + 5}


@dataclass(frozen=True, kw_only=True)
class OpCase(Case):
    """A batch norm layer on an activation of one shape.

    `shape` is (N, C) for ``batch_norm1d`` and (N, C, H, W) for ``batch_norm2d``; `layout` is ``nc``, ``nchw``
    (contiguous) or ``nhwc`` (channels last). Parameters and running statistics are float32.
    """

    layer: str
    phase: str
    layout: str
    shape: tuple[int, ...]

    family: ClassVar[str] = "op"

    @property
    def gates(self) -> tuple[str, ...]:
        return ("timing",)

    @property
    def id(self) -> str:
        return f"op/{self.layer}/{self.phase}/f32/{self.layout}/{'x'.join(map(str, self.shape))}"

    @property
    def nbytes(self) -> int:
        return PASSES[self.phase] * prod(self.shape) * FLOAT32_BYTES

    def build(self, device: str, seed: int = 0) -> Step:
        import torch

        generator = torch.Generator().manual_seed(seed)

        def activation() -> torch.Tensor:
            made = torch.randn(self.shape, generator=generator).to(device)  # (N, C) or (N, C, H, W)
            return made.contiguous(memory_format=torch.channels_last) if self.layout == "nhwc" else made

        channels = self.shape[1]
        layer = torch.nn.BatchNorm1d(channels) if self.layer == "batch_norm1d" else torch.nn.BatchNorm2d(channels)
        layer = layer.to(device).train(self.phase != "fwd-eval")
        x = activation().mul_(2.0).add_(0.5)  # neither zero mean nor unit variance, where some faults cancel

        if self.phase == "fwd+bwd":
            x.requires_grad_()
            parameters = [x, *layer.parameters()]
            grad = activation()

            def forward_backward() -> None:
                torch.autograd.grad(layer(x), parameters, grad)

            return forward_backward

        def forward() -> None:
            with torch.no_grad():
                layer(x)

        return forward


def _op_cases() -> list[OpCase]:
    tensors: list[tuple[str, str, tuple[int, ...]]] = [("batch_norm1d", "nc", (64, 128))]
    for shape in ((32, 256, 14, 14), (16, 64, 56, 56)):
        tensors += [("batch_norm2d", layout, shape) for layout in ("nchw", "nhwc")]
    return [
        OpCase(layer=layer, phase=phase, layout=layout, shape=shape)
        for layer, layout, shape in tensors
        for phase in PASSES
    ]


CASES: tuple[OpCase, ...] = tuple(_op_cases())
