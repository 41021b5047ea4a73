"""The timed normalization layer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, ClassVar

from bnsuite.cases.case import Case, Step
from bnsuite.cases.execution import Execution, TimedBy

if TYPE_CHECKING:
    import torch

#: Bytes per element and torch's name of a dtype, by the word for it in an id.
DTYPES = {"f32": (4, "float32"), "bf16": (2, "bfloat16"), "f16": (2, "float16")}

#: Least number of times one step reads or writes the activation, each tensor once: forward reads x and writes y,
#: backward reads x and dy and writes dx. An implementation may move more (x twice for its statistics).
PASSES = {"fwd": 2, "fwd-train": 2, "fwd-eval": 2, "bwd": 3, "bwd-eval": 3, "fwd+bwd": 5}

#: Layouts, by the rank of the shape: channels second, or last in memory.
LAYOUTS = {2: ("nc",), 3: ("ncl",), 4: ("nchw", "nhwc"), 5: ("ncdhw", "ndhwc")}


@lru_cache(maxsize=1)
def _normal(shape: tuple[int, ...], seed: int, count: int) -> tuple[torch.Tensor, ...]:
    """Returns `count` tensors of normal numbers, not to be written to.

    Cached, because a comparison builds a case many times and drawing takes several times as long as copying.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=generator) for _ in range(count))


@dataclass(frozen=True, kw_only=True)
class LayerCase(Case):
    """A normalization layer on an activation of one shape: (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W).

    Parameters and running statistics are float32 whatever the activation is, as under autocast. The other
    normalization layers (``layer_norm``, ``group_norm``, ``instance_norm``) have no modes: their forward pass is
    ``fwd``. ``conv_batch_norm2d`` has a 3x3 convolution before batch norm, and a ReLU after it.
    """

    layer: str
    phase: str
    layout: str
    shape: tuple[int, ...]
    dtype: str = "f32"
    affine: bool = True
    track: bool = True
    execution: Execution = Execution.EAGER
    #: The layer is torch's, whatever implementation is judged.
    torch_only: bool = False

    family: ClassVar[str] = "op"
    kind: ClassVar[str] = "layer"

    @property
    def gates(self) -> tuple[str, ...]:
        return ("timing", "memory", "kernels")

    @property
    def timed_by(self) -> TimedBy:
        return TimedBy.DEVICE

    @property
    def pluggable(self) -> bool:
        return self.layer.startswith("batch_norm") and not self.torch_only

    @property
    def id(self) -> str:
        options = [*self._options, *([self.execution.value] if self.execution is not Execution.EAGER else [])]
        path = ["op", self.layer, self.phase, self.dtype, self.layout, "x".join(map(str, self.shape))]
        return "/".join([*path, *(["+".join(options)] if options else [])])

    @property
    def labels(self) -> dict[str, str]:
        return {
            "layer": self.layer,
            "phase": self.phase,
            "dtype": self.dtype,
            "layout": self.layout,
            "shape": "x".join(map(str, self.shape)),
            "options": "+".join(self._options),
            "execution": self.execution.value,
        }

    @property
    def _options(self) -> list[str]:
        return [word for word, off in (("no-affine", not self.affine), ("no-track", not self.track)) if off]

    @property
    def nbytes(self) -> int:
        return PASSES[self.phase] * prod(self.shape) * DTYPES[self.dtype][0]

    def examples(self, step: Step) -> int:  # noqa: ARG002
        return self.shape[0]

    def build(self, device: str, seed: int = 0) -> Step:
        from bnsuite.cases.op.steps import build

        return build(self, device, seed)

    def activations(self, device: str, seed: int, count: int) -> list[torch.Tensor]:
        """Returns `count` tensors of normal numbers, of the case's shape, dtype and layout."""
        import torch

        formats = {"nhwc": torch.channels_last, "ndhwc": torch.channels_last_3d}
        layout, dtype = formats.get(self.layout, torch.contiguous_format), getattr(torch, DTYPES[self.dtype][1])
        drawn = _normal(self.shape, seed, count)
        return [one.to(device, dtype, copy=True, memory_format=layout) for one in drawn]
