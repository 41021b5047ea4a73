"""Settings of one step of a batch norm layer: everything that its result depends on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnsuite.cases import precision
from bnsuite.cases.checks.case import Subject
from bnsuite.cases.checks.material.arithmetic import randomize_state
from bnsuite.cases.checks.material.layouts import lay

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Kind:
    """A rank of input: dimensions beyond (N, C), and a shape with 7 channels."""

    name: str
    dimensions: int
    shape: tuple[int, ...]


KINDS = (
    Kind("batch_norm1d/nc", 1, (16, 7)),
    Kind("batch_norm1d/ncl", 1, (4, 7, 9)),
    Kind("batch_norm2d", 2, (4, 7, 5, 6)),
    Kind("batch_norm3d", 3, (3, 7, 3, 4, 5)),
)
PLAIN = KINDS[2]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One step: the input, the layer, and the start of its statistics."""

    kind: Kind = PLAIN
    shape: tuple[int, ...] | None = None
    momentum: float | None = 0.1
    eps: float = 1e-5
    affine: bool = True
    tracked: bool = True
    #: Batches counted before the step.
    counted: int = 0
    mean: float = 0.5
    std: float = 2.0
    dtype: str = "float32"
    layout: str = "contiguous"
    cudnn: bool = True

    def x(self, subject: Subject, seed: int = 0) -> torch.Tensor:
        """Returns an input, independent of that of another seed."""
        shape = self.shape or self.kind.shape
        return lay(subject.randn(*shape, seed=seed, mean=self.mean, std=self.std, dtype=self.dtype), self.layout)

    def layer(self, subject: Subject) -> nn.Module:
        """Returns a layer with statistics away from 0 and 1, in double precision for such an input."""
        shape = self.shape or self.kind.shape
        layer = subject.batch_norm(
            self.kind.dimensions,
            shape[1],
            eps=self.eps,
            momentum=self.momentum,
            affine=self.affine,
            track_running_stats=self.tracked,
        )
        counter = getattr(layer, "num_batches_tracked", None)
        if counter is not None:
            counter.fill_(self.counted)
        return randomize_state(layer.double() if self.dtype == "float64" else layer)

    def backend(self) -> AbstractContextManager[object]:
        """Returns a context in which the backend is the device's choice, or not cuDNN."""
        return nullcontext() if self.cudnn else precision.cudnn(enabled=False)


def cudnn_enabled(enabled: bool) -> AbstractContextManager[object]:
    """Returns a context in which cuDNN may be used, or may not."""
    return precision.cudnn(enabled=enabled)
