"""STRIDE: inputs and incoming gradients in every memory layout, each by itself."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from bnsuite.cases.checks.case import NumericsCase, Observation, Subject
from bnsuite.cases.checks.reference import step_against_float64, unsettle

if TYPE_CHECKING:
    import torch


def _lay(tensor: torch.Tensor, how: str) -> torch.Tensor:
    """The values of `tensor`, (N, C, H, W), in another layout."""
    import torch

    if how == "channels-last":
        return tensor.contiguous(memory_format=torch.channels_last)
    if how == "permuted":
        return tensor.permute(2, 0, 3, 1).contiguous().permute(1, 3, 0, 2)
    if how == "sliced":
        wide = torch.zeros(
            tensor.shape[0] + 1, tensor.shape[1] + 3, *tensor.shape[2:], device=tensor.device, dtype=tensor.dtype
        )
        part = wide[1:, 2:-1]
        return part.copy_(tensor)
    return tensor.contiguous()


def _step(subject: Subject, *, x: str, dy: str, channels: int, training: bool) -> Iterator[Observation]:
    layer = unsettle(subject.batch_norm(2, channels)).train(training)
    shape = (4, channels, 5, 6)
    yield from step_against_float64(layer, _lay(subject.randn(*shape), x), _lay(subject.randn(*shape, seed=1), dy))


LAYOUTS = ("contiguous", "channels-last", "permuted", "sliced")


def cases() -> Iterator[NumericsCase]:
    for training in (True, False):
        for x in LAYOUTS:
            for dy in LAYOUTS:
                yield NumericsCase(
                    group="STRIDE",
                    name=f"batch_norm2d/{'train' if training else 'eval'}/x={x}/dy={dy}",
                    look=partial(_step, x=x, dy=dy, channels=65, training=training),
                    rule="neither the layout of the input nor that of the incoming gradient changes a result",
                    rows=("N01", "N02", "N08", "N11", "N12"),
                    quick=x != "contiguous" and dy in {"contiguous", "channels-last"} and training,
                )
