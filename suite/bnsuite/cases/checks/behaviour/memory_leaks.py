"""Family ``memory-leaks``: memory left by hundreds of steps, in torch's allocators and in the process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from bnsuite.cases.allocations import held
from bnsuite.cases.checks.case import BehaviourCase, Observation, Subject
from bnsuite.cases.checks.material.arithmetic import randomize_state
from bnsuite.cases.checks.material.growth import GROWTH, resident_per_step, without_collection

if TYPE_CHECKING:
    import torch
    from torch import nn

Pass = Callable[["nn.Module", "torch.Tensor", "torch.Tensor"], None]


def _backward(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor) -> None:
    layer(x).backward(dy)


def _forward(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor) -> None:  # noqa: ARG001  # as every pass
    layer(x)


def _no_grad(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor) -> None:  # noqa: ARG001
    import torch

    with torch.no_grad():
        layer(x)


def _twice(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor) -> None:
    """Makes a gradient penalty."""
    import torch

    (slope,) = torch.autograd.grad(layer(x), x, dy, create_graph=True)
    slope.square().sum().backward()


def _half_of_twice(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor) -> None:
    """Makes a gradient with a graph that is never used."""
    import torch

    torch.autograd.grad(layer(x), (x, *layer.parameters()), dy, create_graph=True)


def _chunks(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor) -> None:
    import torch

    torch.cat([layer(part) for part in x.split(3)]).backward(dy)


def _two_forwards(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor) -> None:
    (layer(x) + layer(x * 2.0)).backward(dy)


def _refused(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor) -> None:
    """An input of one channel too few, which raises, and a step."""
    with contextlib.suppress(RuntimeError, ValueError):
        layer(x[:, 1:]).sum().backward()
    _backward(layer, x, dy)


def _copied(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor) -> None:
    """A step of a copy, whose state is then taken over."""
    import copy

    other = copy.deepcopy(layer)
    _backward(other, x, dy)
    layer.load_state_dict(other.state_dict())


PASSES: dict[str, tuple[Pass, bool]] = {
    "train/backward": (_backward, True),
    "train/forward": (_forward, True),
    "train/no-grad": (_no_grad, True),
    "train/double-backward": (_twice, True),
    "train/double-backward-dropped": (_half_of_twice, True),
    "train/chunks": (_chunks, True),
    "train/two-forwards": (_two_forwards, True),
    "train/refused": (_refused, True),
    "train/copied": (_copied, True),
    "eval/backward": (_backward, False),
    "eval/no-grad": (_no_grad, False),
    "eval/double-backward": (_twice, False),
}
#: Inputs of the leak cases; a step takes some of the N.
LEAK_SHAPES = {1: (24, 32), 2: (24, 16, 6, 5), 3: (24, 8, 3, 4, 5)}
#: Samples that each step takes of the N, in turn; odd, so that chunks of three end in a shorter one.
SIZES = (5, 8, 24, 12, 6, 17, 3, 20, 9, 14)


def _steps(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor, walk: Pass, count: int) -> None:
    with without_collection():
        for number in range(count):
            size = SIZES[number % len(SIZES)]
            walk(layer, x[:size].clone().requires_grad_(), dy[:size])
            for parameter in layer.parameters():
                parameter.grad = None


def _with_graph(layer: nn.Module) -> str:
    """Returns the names of the layer's tensors that hold a graph."""
    import torch

    tensors = {**dict(layer.named_buffers()), **vars(layer)}
    return ", ".join(name for name, one in tensors.items() if isinstance(one, torch.Tensor) and one.grad_fn is not None)


def _leak(subject: Subject, *, dimensions: int, walk: Pass, training: bool) -> Iterator[Observation]:
    shape = LEAK_SHAPES[dimensions]
    layer = randomize_state(subject.batch_norm(dimensions, shape[1])).train(training)
    run = partial(_steps, layer, subject.randn(*shape), subject.randn(*shape, seed=1), walk)
    # The first step makes what a layer makes anew every step, and what the others count alike.
    _, short, long = (held(partial(run, count), subject.device).net for count in (10, 10, 50))
    yield Observation("bytes/step", abs(long - short) / 40, 0.0)
    yield Observation("buffers with a graph", _with_graph(layer) or "none", expected="none")


def _growth(subject: Subject, *, dimensions: int, walk: Pass, training: bool) -> Iterator[Observation]:
    shape = LEAK_SHAPES[dimensions]
    layer = randomize_state(subject.batch_norm(dimensions, shape[1])).train(training)
    run = partial(_steps, layer, subject.randn(*shape), subject.randn(*shape, seed=1), walk)
    yield Observation("resident bytes/step", resident_per_step(run), GROWTH)


def cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="memory-leaks", rule="a step leaves no memory allocated")
    for dimensions in LEAK_SHAPES:
        for name, (walk, training) in PASSES.items():
            doubly = ("M01", "M03") if "double" in name else ()
            yield case(
                name=f"batch_norm{dimensions}d/{name}/allocated",
                observe=partial(_leak, dimensions=dimensions, walk=walk, training=training),
                rows=(*doubly, "M06", "M07"),
                quick=dimensions == 2 and name in {"train/backward", "train/double-backward"},
            )
            yield case(
                name=f"batch_norm{dimensions}d/{name}/resident",
                observe=partial(_growth, dimensions=dimensions, walk=walk, training=training),
                rows=("M04", "M08") if "chunks" not in name else ("M04",),
                from_cpu=("resident bytes/step",),  # the driver's own memory of this process grows with it
            )
