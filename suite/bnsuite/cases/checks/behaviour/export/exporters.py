"""The ways to take a layer out of Python: torch.jit and torch.export."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

#: The most that the same arithmetic may differ if it is folded or fused, over the largest number of a tensor.
ROUNDING = 1e-5

#: The input shapes of the layers, by their name in ids.
SHAPES: dict[str, tuple[int, ...]] = {
    "1d-nc": (8, 5),
    "1d": (4, 5, 7),
    "2d": (4, 5, 6, 3),
    "3d": (3, 5, 2, 4, 3),
}


def script(layer: nn.Module, x: torch.Tensor) -> Any:  # noqa: ARG001  # the signature of every exporter
    import torch

    return torch.jit.script(layer)


def script_saved(layer: nn.Module, x: torch.Tensor) -> Any:
    import torch

    file = io.BytesIO()
    torch.jit.save(script(layer, x), file)
    file.seek(0)
    return torch.jit.load(file)


def trace(layer: nn.Module, x: torch.Tensor) -> Any:
    import torch

    return torch.jit.trace(layer, x, check_trace=False)


def _program(layer: nn.Module, x: torch.Tensor, *, dynamic: bool = False) -> Any:
    import torch

    shapes = ({0: torch.export.Dim("n", min=2, max=1024)},) if dynamic else None
    return torch.export.export(layer, (x,), dynamic_shapes=shapes)


def export(layer: nn.Module, x: torch.Tensor) -> Any:
    return _program(layer, x).module()


def export_dynamic(layer: nn.Module, x: torch.Tensor) -> Any:
    return _program(layer, x, dynamic=True).module()


def export_decomposed(layer: nn.Module, x: torch.Tensor) -> Any:
    return _program(layer, x).run_decompositions().module()


def export_saved(layer: nn.Module, x: torch.Tensor) -> Any:
    import torch

    file = io.BytesIO()
    torch.export.save(_program(layer, x), file)
    file.seek(0)
    return torch.export.load(file).module()


Way = Callable[["nn.Module", "torch.Tensor"], Any]
WAYS: dict[str, Way] = {
    "script": script,
    "script-saved": script_saved,
    "trace": trace,
    "export": export,
    "export-dynamic": export_dynamic,
    "export-decomposed": export_decomposed,
    "export-saved": export_saved,
}


def exported(way: Way, layer: nn.Module, x: torch.Tensor) -> Any:
    """Returns a copy of `layer` taken out of Python, with warnings suppressed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return way(copy.deepcopy(layer), x)
