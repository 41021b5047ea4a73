"""Tensors of the same values in other memory layouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """Returns `tensor`, (N, C, H, W) or (N, C, D, H, W), with channels last in memory."""
    import torch

    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return tensor.contiguous(memory_format=formats[tensor.dim()])


def lay(tensor: torch.Tensor, how: str) -> torch.Tensor:
    """Returns `tensor` in another layout."""
    if how == "channels-last":
        return channels_last(tensor)
    if how == "sliced":
        return sliced(tensor)
    if how == "expanded":  # one number for all
        return tensor.flatten()[0].expand(tensor.shape)
    if how == "reversed":
        axes = tuple(reversed(range(tensor.dim())))
        return tensor.permute(axes).contiguous().permute(axes)
    return tensor


def ordered(tensor: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
    """Returns the values of `tensor` with dimensions in memory from the slowest to the fastest as `order` says."""
    back = sorted(range(len(order)), key=order.__getitem__)
    return tensor.permute(order).contiguous().permute(back)


def sliced(tensor: torch.Tensor) -> torch.Tensor:
    wide = tensor.new_zeros(tensor.shape[0] + 1, tensor.shape[1] + 3, *tensor.shape[2:])
    return wide[1:, 2:-1].copy_(tensor)


def stepped(tensor: torch.Tensor) -> torch.Tensor:
    wide = tensor.new_zeros(2 * tensor.shape[0], *tensor.shape[1:-1], 3 * tensor.shape[-1])
    return wide[::2, ..., ::3].copy_(tensor)


def offset(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.new_zeros(tensor.numel() + 3)[3:].view(tensor.shape).copy_(tensor)


def expanded(tensor: torch.Tensor, kept: int) -> torch.Tensor:
    """Returns the first value of every dimension behind the first `kept`."""
    for axis in range(kept, tensor.dim()):
        tensor = tensor.narrow(axis, 0, 1)
    return tensor


def strided(tensor: torch.Tensor, how: str) -> torch.Tensor:
    """Returns `tensor`, (N, C, ...), in another layout: its values, or a few of them repeated if it is expanded."""
    rank, shape = tensor.dim(), tensor.shape
    layouts: dict[str, Callable[[], torch.Tensor]] = {
        "contiguous": tensor.contiguous,
        "channels-last": lambda: ordered(tensor, (0, *range(2, rank), 1)),
        "permuted": lambda: ordered(tensor, (2, 0, *range(3, rank), 1)),
        "sliced": lambda: sliced(tensor),
        "offset": lambda: offset(tensor),
        "stepped": lambda: stepped(tensor),
        "expanded-places": lambda: expanded(tensor, 2).expand(shape),
        "expanded-samples": lambda: tensor[:1].expand(shape),
        "expanded": lambda: expanded(tensor, 0).expand(shape),
    }
    return layouts[how]()


def part_of_larger(values: torch.Tensor, how: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns a larger tensor of fours, and a part of it with strides or an offset that holds `values`, (C,)."""
    count = values.numel()
    whole = values.new_full((3 * count + 1,), 4.0)
    part = {
        "every-second": lambda: whole[: 2 * count : 2],
        "column": lambda: whole[: 3 * count].view(count, 3)[:, 1],
        "offset": lambda: whole[1 : count + 1],
    }[how]()
    part.copy_(values)
    return whole, part
