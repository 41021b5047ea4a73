"""The programs of two ranks: each runs on both and answers with tensors and words by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from bnsuite.cases import implementation
from bnsuite.cases.checks.case import Subject
from bnsuite.cases.checks.material import networks
from bnsuite.cases.checks.material.arithmetic import randomize_state
from bnsuite.cases.checks.material.layouts import lay
from bnsuite.cases.checks.material.states import snapshot

if TYPE_CHECKING:
    import torch
    from torch import nn

RATE = 0.2


def descend(net: nn.Module) -> None:
    """A step of plain gradient descent."""
    import torch

    for parameter in net.parameters():
        if parameter.grad is not None:
            with torch.no_grad():
                parameter.sub_(RATE * parameter.grad)
            parameter.grad = None


def train(
    rank: int,
    device: str,
    *,
    dimensions: int,
    sizes: list[int],
    actions: list[str],
    options: dict[str, Any],
    wrapping: dict[str, Any],
    frozen: bool,
    differ: bool,
) -> dict[str, Any]:
    """Run `actions` (see ``data_parallel.py``) on a wrapped network, on batches of `sizes[rank]`."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    subject = Subject(device)
    net = networks.network(subject, dimensions, options, frozen=frozen, seed=rank if differ else 0)
    wrapped = DistributedDataParallel(net, **wrapping)
    answer: dict[str, Any] = {}
    for number, action in enumerate(actions):
        x, weights = networks.batch(subject, dimensions, sizes[rank], number, rank)
        networks.set_training(net, training=not action.startswith("eval") and action != "alone", frozen=frozen)
        if action in {"eval", "no-grad"}:
            with torch.no_grad():
                answer[f"y{number}"] = wrapped(x)
            answer.update({f"{number}.{name}": buffer.clone() for name, buffer in net.named_buffers()})
        elif action == "alone":
            if rank == 0:
                with torch.no_grad():
                    net(x)
        elif action == "forward":
            wrapped(x)
        else:
            _backward(wrapped, action, x, weights)
            descend(net)
    answer.update(snapshot(net))
    return answer


def _backward(wrapped: Any, action: str, x: torch.Tensor, weights: torch.Tensor) -> None:
    """Makes gradients: of one pass, of two forward passes, or of two passes."""
    if action.endswith("two-forwards"):
        ((wrapped(x) + wrapped(x * 1.5)) * weights).mean().backward()
        return
    if action == "accumulate":
        with wrapped.no_sync():
            (wrapped(x * 1.5) * weights).mean().backward()
    (wrapped(x) * weights).mean().backward()


def join(rank: int, device: str, *, dimensions: int, counts: list[int], wrapping: dict[str, Any]) -> dict[str, Any]:
    """Train on `counts[rank]` batches, which differ."""
    from torch.nn.parallel import DistributedDataParallel

    subject = Subject(device)
    net = networks.network(subject, dimensions, {})
    wrapped = DistributedDataParallel(net, **wrapping)
    with wrapped.join():
        for number in range(counts[rank]):
            x, weights = networks.batch(subject, dimensions, 4, number, rank)
            _backward(wrapped, "step", x, weights)
            descend(net)
    return snapshot(net)


def _synchronised(subject: Subject, dimensions: int, channels: int, **options: Any) -> nn.Module:
    """Returns torch's layer that synchronises, or the implementation, which may synchronise."""
    from torch import nn

    if implementation.named():
        return subject.batch_norm(dimensions, channels, **options)
    return nn.SyncBatchNorm(channels, **options).to(subject.device)


def shard(subject: Subject, shape: list[int], rank: int, dtype: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A rank's input and incoming gradient; ranks have other means, so that theirs alone are wrong."""
    x = subject.randn(*shape, seed=20 + rank, mean=0.5 + 2.0 * rank, dtype=dtype)
    return x, subject.randn(*shape, seed=30 + rank, mean=0.2, std=1.0, dtype=dtype)


def synchronised(
    rank: int,
    device: str,
    *,
    shapes: list[list[int]],
    options: dict[str, Any],
    layouts: list[str],
    dtype: str,
    autocast: bool,
    input_grad: bool,
    steps: int,
) -> dict[str, Any]:
    """Steps of a layer that synchronises, on a shard of `shapes[rank]`; the answer is of the last."""
    import torch

    subject = Subject(device)
    layer = randomize_state(_synchronised(subject, max(1, len(shapes[0]) - 2), shapes[0][1], **options))
    if dtype == "float64":
        layer.double()
    x, dy = (lay(one, how) for one, how in zip(shard(subject, shapes[rank], rank, dtype), layouts, strict=True))
    context: AbstractContextManager[Any] = (
        torch.autocast(subject.device.partition(":")[0]) if autocast else nullcontext()
    )
    answer: dict[str, Any] = {}
    for _ in range(steps):
        leaf = x.detach().requires_grad_(input_grad)
        for parameter in layer.parameters():
            parameter.grad = None
        with context:
            y = layer(leaf)
        if y.requires_grad:
            y.backward(dy.to(y.dtype))
        answer = {"y": y.detach(), "dx": leaf.grad, **{f"d{n}": p.grad for n, p in layer.named_parameters()}}
    return {**answer, **snapshot(layer)}


def penalty(rank: int, device: str, *, shapes: list[list[int]]) -> dict[str, Any]:
    """A gradient penalty through a layer that synchronises."""
    import torch

    subject = Subject(device)
    layer = randomize_state(_synchronised(subject, 2, shapes[0][1]))
    x, dy = shard(subject, shapes[rank], rank, "float32")
    leaf = x.requires_grad_()
    (slope,) = torch.autograd.grad(layer(leaf), leaf, dy, create_graph=True)
    slope.square().sum().backward()
    return {"dx": leaf.grad}


def peak(rank: int, device: str, *, shape: list[int], last: bool) -> dict[str, Any]:
    """Bytes that a step holds at its peak, of a layer that synchronises and of torch's that does not."""
    from bnsuite.cases.allocations import held

    subject = Subject(device)
    x, dy = (lay(one, "channels-last" if last else "contiguous") for one in shard(subject, shape, rank, "float32"))
    leaf = x.detach().requires_grad_()
    answer = {}
    for name, layer in (
        ("synchronised", _synchronised(subject, 2, shape[1])),
        ("plain", implementation.torchs_own(2, shape[1]).to(device)),
    ):

        def step(layer: nn.Module = layer) -> None:
            leaf.grad = None
            layer.zero_grad()
            layer(leaf).backward(dy)

        step()
        leaf.grad = None
        answer[name] = held(step, device).peak
    return answer


def alone(rank: int, device: str, *, options: dict[str, Any], convert: bool, dimensions: int) -> dict[str, Any]:
    """Rank 0 evaluates a layer that synchronises in training, and the other does nothing."""
    import torch
    from torch import nn

    if rank != 0:
        return {}
    subject = Subject(device)
    channels = networks.WIDTHS[1]
    if convert:
        made = implementation.torchs_own(dimensions, channels, **options).to(device).eval()
        layer = randomize_state(nn.SyncBatchNorm.convert_sync_batchnorm(made))
    else:
        layer = randomize_state(_synchronised(subject, dimensions, channels, **options)).eval()
    x = subject.randn(4, channels, *networks.SPATIAL[dimensions])
    with torch.no_grad():
        y = layer(x)
    return {"y": y, **snapshot(layer)}


PROGRAMS: dict[str, Callable[..., dict[str, Any]]] = {
    "train": train,
    "join": join,
    "synchronised": synchronised,
    "penalty": penalty,
    "peak": peak,
    "alone": alone,
}
