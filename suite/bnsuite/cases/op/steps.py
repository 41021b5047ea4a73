"""Builds the step of a layer: everything is allocated outside, and the function only launches work."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from bnsuite.cases import implementation

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bnsuite.cases.case import Step
    from bnsuite.cases.op.case import LayerCase

#: Groups of ``group_norm``: the default of Wu & He (2018).
GROUPS = 32

#: Steps before a graph is captured, on a stream of their own, as torch asks for.
CAPTURE_AFTER = 3


def _composition(channels: int) -> nn.Module:
    """Batch norm in training made of basic operations, as a user would write it: statistics, then one product."""
    import torch
    from torch import nn

    class Composition(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            axes = [axis for axis in range(x.dim()) if axis != 1]
            shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
            var, mean = torch.var_mean(x, axes, correction=0)  # (C,)
            scale = self.weight * (var + 1e-5).rsqrt()
            return torch.addcmul((self.bias - mean * scale).view(shape), x, scale.view(shape))

    return Composition()


def _layer(case: LayerCase) -> nn.Module:
    from torch import nn

    shape, channels = case.shape, case.shape[1]
    options = {"affine": case.affine, "track_running_stats": case.track}
    batch_norm = implementation.torchs_own if case.torch_only else implementation.batch_norm
    instance_norms = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}
    kinds: dict[str, Callable[[], nn.Module]] = {
        "batch_norm1d": lambda: batch_norm(1, channels, **options),
        "batch_norm2d": lambda: batch_norm(2, channels, **options),
        "batch_norm3d": lambda: batch_norm(3, channels, **options),
        "composition": lambda: _composition(channels),
        "layer_norm": lambda: nn.LayerNorm(shape[1:]),
        "group_norm": lambda: nn.GroupNorm(GROUPS, channels),
        "instance_norm": lambda: instance_norms[len(shape)](channels, affine=case.affine),
    }
    return kinds[case.layer]()


def build(case: LayerCase, device: str, seed: int) -> Step:
    """The step of `case`, all its tensors on `device`."""
    import torch

    forward = case.phase.startswith("fwd") and case.phase != "fwd+bwd"
    layer = _layer(case).to(device).train("eval" not in case.phase)
    x, *gradient = case.activations(device, seed, 1 if forward else 2)
    x = x.mul_(2.0).add_(0.5)  # neither centred nor of unit variance
    called: Callable[[torch.Tensor], torch.Tensor] = layer
    if case.execution == "compiled":
        torch.compiler.reset()  # else a second shape in one process is compiled for any shape
        called = torch.compile(layer)
    if forward:
        step = _forward(called, x)
    else:
        wanted = [x.requires_grad_(), *layer.parameters()]
        (dy,) = gradient
        step = _both(called, x, wanted, dy) if case.phase == "fwd+bwd" else _backward(called, x, wanted, dy)
    if case.execution == "native":
        return _without_cudnn(step)
    return _captured(step) if case.execution == "graph" else step


def _forward(layer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Step:
    import torch

    def forward() -> None:
        with torch.no_grad():
            layer(x)

    return forward


def _both(
    layer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, wanted: list[torch.Tensor], dy: torch.Tensor
) -> Step:
    import torch

    def forward_backward() -> None:
        torch.autograd.grad(layer(x), wanted, dy)

    return forward_backward


def _backward(
    layer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, wanted: list[torch.Tensor], dy: torch.Tensor
) -> Step:
    """The backward pass alone, again and again through the graph of one forward pass."""
    import torch

    y = layer(x)

    def backward() -> None:
        torch.autograd.grad(y, wanted, dy, retain_graph=True)

    return backward


def _without_cudnn(step: Step) -> Step:
    import torch

    def native() -> None:
        before = torch.backends.cudnn.enabled
        torch.backends.cudnn.enabled = False  # the context manager for it takes as long as a small step
        try:
            step()
        finally:
            torch.backends.cudnn.enabled = before

    return native


def _captured(step: Step) -> Step:
    import torch

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(CAPTURE_AFTER):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return partial(_replay, graph, step)


def _replay(graph: torch.cuda.CUDAGraph, _: Step) -> None:
    """The captured step again; it reads and writes the tensors of the step itself, which are kept by being given."""
    graph.replay()
