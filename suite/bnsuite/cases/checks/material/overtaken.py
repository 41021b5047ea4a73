"""A backward pass after its layer has moved on: the ways to move it, and the gradients that are due."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from bnsuite.cases import gpu_errors
from bnsuite.cases.checks.case import Observation, Subject

if TYPE_CHECKING:
    import torch

EPS = 1e-5
#: A batch changes the statistics by this part, and by far: gradients of the new ones are wrong in every precision.
MOMENTUM = 0.9
#: How far a gradient may be from the right one, over its size.
NEAR = {"float64": 1e-9, "float32": 1e-3, "bfloat16": 5e-2, "float16": 1e-2}
#: Both are what a user needs: the right numbers, or an error that says why there are none.
FINE = "right or refused"
#: What autograd says of a saved tensor that has changed.
CHANGED = "modified by an inplace operation"


def another_batch(subject: Subject, x: torch.Tensor) -> torch.Tensor:
    """Returns a batch like `x` of a far larger deviation."""
    return subject.randn(*x.shape, seed=5, mean=-2.0, std=8.0).to(x.dtype)


def _train(layer: Any, x: torch.Tensor) -> None:
    layer.train()(x)


def _train_without_graph(layer: Any, x: torch.Tensor) -> None:
    import torch

    with torch.no_grad():
        layer.train()(x)


def _step(layer: Any, x: torch.Tensor) -> None:
    import torch

    loss = layer.train()(x).square().sum() + sum(one.sum() for one in layer.parameters())
    if loss.requires_grad:
        parameters = list(layer.parameters())
        with torch.no_grad():  # as torch.optim.SGD does, whose import takes seconds
            torch._foreach_add_(parameters, list(torch.autograd.grad(loss, parameters)), alpha=-0.1)


def _load(layer: Any, _: torch.Tensor) -> None:
    layer.load_state_dict({name: one * 3 for name, one in copy.deepcopy(layer.state_dict()).items()})


def _reset(layer: Any, _: torch.Tensor) -> None:
    layer.reset_running_stats()


def _replaced(layer: Any, _: torch.Tensor) -> None:
    for name in ("running_mean", "running_var"):
        setattr(layer, name, getattr(layer, name) * 3)


def _weight(layer: Any, _: torch.Tensor) -> None:
    import torch

    with torch.no_grad():
        for one in layer.parameters():
            one.mul_(3)


#: What may happen to a layer between its forward and its backward pass.
WAYS: dict[str, Callable[[Any, Any], None]] = {
    "train": _train,
    "train-without-graph": _train_without_graph,
    "training-step": _step,
    "load_state_dict": _load,
    "reset_running_stats": _reset,
    "statistics-replaced": _replaced,
    "parameters-changed": _weight,
}
#: Ways that change nothing of what a pass in training needs: several of them before one backward pass are in use.
FREE = ("train", "train-without-graph", "statistics-replaced")


def due(
    given: dict[str, torch.Tensor], dy: torch.Tensor, *, by: str, eps: float = EPS
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Returns the gradients in float64, by name, and those of the sum of dx times itself, for evaluation.

    `given` has "x", (N, C, ...), and maybe "weight", "bias", "running_mean" and "running_var"; `by` says whose mean and
    variance are used: "stored", those of the "batch", or of each "sample".
    """
    import torch

    exact = {name: one.detach().double().clone() for name, one in given.items()}
    leaves = {name: exact[name].requires_grad_() for name in ("x", "weight", "bias") if name in exact}
    x = leaves["x"]
    shape = [1, -1, *[1] * (x.dim() - 2)]
    if by == "stored":
        mean, var = (exact[name].view(shape) for name in ("running_mean", "running_var"))
    else:
        axes = [*((0,) if by == "batch" else ()), *range(2, x.dim())]
        mean = x.mean(axes, keepdim=True)
        var = (x - mean).square().mean(axes, keepdim=True)
    y = (x - mean) / (var + eps).sqrt()
    if "weight" in leaves:
        y = y * leaves["weight"].view(shape) + leaves["bias"].view(shape)
    found = torch.autograd.grad(y, list(leaves.values()), dy.double(), create_graph=True)
    first = dict(zip(leaves, found, strict=True))
    second: dict[str, torch.Tensor] = {}
    if "weight" in leaves:
        (slope,) = torch.autograd.grad(first["x"].square().sum(), leaves["weight"])
        second["weight"] = slope
    return {name: one.detach() for name, one in first.items()}, second


def verdict(compute: Callable[[], Sequence[torch.Tensor]], right: Sequence[torch.Tensor], dtype: str) -> str:
    """Returns "right", "wrong", "refused" if a saved tensor is said to have changed, or the name of another error."""
    import torch

    try:
        found = compute()
    except RuntimeError as error:
        gpu_errors.note(error)
        return "refused" if CHANGED in str(error) else f"fails with {type(error).__name__}"
    for one, truth in zip(found, right, strict=True):
        away = (one.detach().double() - truth).norm() / truth.norm().clamp_min(1e-12)
        if not (torch.isfinite(away) and away.item() <= NEAR[dtype]):
            return "wrong"
    return "right"


def judged(what: str, words: Iterable[str], *, refusable: bool = True) -> Observation:
    """Returns the observation of some verdicts: they must be right, or as good as that where `refusable`."""
    joined = ", ".join(sorted(set(words)))
    if not refusable:
        return Observation(what, joined, expected="right")
    return Observation(what, FINE if joined in {"right", "refused", "refused, right"} else joined, expected=FINE)
