"""Closed forms of a forward pass in float64: batch norm, and every combination of a few common mistakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import combinations, product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: The most mistakes that are tried at once.
MAX_MISTAKES = 3
#: The values of eps that are tried where the given one is not used; a smaller one is none.
FIXED_EPS = (1e-3, 1e-5, 1e-6, 1e-8, 1e-4, 1e-2)


@dataclass(frozen=True)
class Form:
    """The choices that make a formula; the defaults are batch norm in training."""

    #: Where mean and variance are taken: "batch", "running", or over other axes.
    statistics: str = "batch"
    variance: str = "biased"
    #: "mean": x - mean; "none": x; "rms": x, and the mean square in the place of the variance.
    centre: str = "mean"
    #: What x - mean is divided by, or ``eps=VALUE`` for the root of var + VALUE.
    denominator: str = "sqrt(var + eps)"
    weight: str = "applied"
    bias: str = "applied"
    activation: str = "none"

    def differences(self, other: Form) -> dict[str, str]:
        """Returns the choices that differ from those of `other`."""
        names = (one.name for one in fields(self))
        return {name: getattr(self, name) for name in names if getattr(self, name) != getattr(other, name)}


CHOICES: dict[str, tuple[str, ...]] = {
    "statistics": ("batch", "running", "sample", "layer", "place", "position", "all", "groups"),
    "variance": ("biased", "unbiased"),
    "centre": ("mean", "none", "rms"),
    "denominator": (
        "sqrt(var + eps)",
        "sqrt(max(var, eps))",
        "sqrt(var) + eps",
        "sqrt(var)",
        "max(sqrt(var), eps)",
        "var + eps",
        *(f"eps={value:g}" for value in FIXED_EPS),
    ),
    "weight": ("applied", "ignored", "1 + weight"),
    "bias": ("applied", "ignored"),
    "activation": ("none", "relu", "silu"),
}


@cache
def alternatives(right: Form) -> tuple[Form, ...]:
    """Returns `right`, then every form with one mistake, then with two, up to MAX_MISTAKES."""
    found = [right]
    for count in range(1, MAX_MISTAKES + 1):
        for names in combinations(CHOICES, count):
            wrong = [[one for one in CHOICES[name] if one != getattr(right, name)] for name in names]
            found += [replace(right, **dict(zip(names, chosen, strict=True))) for chosen in product(*wrong)]
    return tuple(found)


@dataclass(frozen=True)
class Given:
    """What a forward pass starts from, in float64: `x` is (N, C, ...), the rest is (C,) or absent."""

    x: torch.Tensor
    weight: torch.Tensor | None
    bias: torch.Tensor | None
    running_mean: torch.Tensor | None
    running_var: torch.Tensor | None
    eps: float

    def wide(self, value: torch.Tensor) -> torch.Tensor:
        return value.view(1, -1, *[1] * (self.x.dim() - 2))


#: A forward pass that was made: its start, and the output in float64.
Step = tuple[Given, "torch.Tensor"]
#: Returns True if an output is that of a formula.
Fits = Callable[["torch.Tensor", "torch.Tensor"], bool]


def _axes(x: torch.Tensor) -> dict[str, tuple[int, ...]]:
    rank = x.dim()
    found: dict[str, tuple[int, ...]] = {
        "batch": (0, *range(2, rank)),
        "layer": tuple(range(1, rank)),
        "position": (0,),
        "all": tuple(range(rank)),
    }
    return found if rank == 2 else {**found, "sample": tuple(range(2, rank)), "place": (1,)}


def _moments(given: Given, form: Form) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Returns mean and variance as `form` has them, or None where `given` has none of the kind."""
    x = given.x
    if form.statistics == "running":
        if given.running_mean is None or given.running_var is None or form.centre == "rms" or form.variance != "biased":
            return None
        return given.wide(given.running_mean), given.wide(given.running_var)
    if form.statistics == "groups":
        grouped = x.unflatten(1, (2, -1)).flatten(2)  # (N, 2, ...)
        mean, var = _over(grouped, (2,), form)
        wide = (x.shape[0], x.shape[1], *[1] * (x.dim() - 2))
        return (mean.expand(-1, -1, x.shape[1] // 2).reshape(wide), var.expand(-1, -1, x.shape[1] // 2).reshape(wide))
    axes = _axes(x).get(form.statistics)
    return None if axes is None else _over(x, axes, form)


def _over(x: torch.Tensor, axes: tuple[int, ...], form: Form) -> tuple[torch.Tensor, torch.Tensor]:
    mean = x.mean(axes, keepdim=True)
    deviation = x if form.centre == "rms" else x - mean
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    squares = deviation.square().sum(axes, keepdim=True)
    return mean, squares / (count if form.variance == "biased" else max(1, count - 1))


_ROOTS: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "sqrt(var + eps)": lambda var, eps: (var + eps).sqrt(),
    "sqrt(max(var, eps))": lambda var, eps: var.clamp_min(eps).sqrt(),
    "sqrt(var) + eps": lambda var, eps: var.sqrt() + eps,
    "sqrt(var)": lambda var, _: var.sqrt(),
    "max(sqrt(var), eps)": lambda var, eps: var.sqrt().clamp_min(eps),
    "var + eps": lambda var, eps: var + eps,
}


def _root(denominator: str, var: torch.Tensor, eps: float) -> torch.Tensor:
    if denominator.startswith("eps="):
        return _ROOTS["sqrt(var + eps)"](var, float(denominator.removeprefix("eps=")))
    return _ROOTS[denominator](var, eps)


#: The moments that are constants in the backward pass.
STOPS: tuple[tuple[str, ...], ...] = ((), ("mean", "variance"), ("mean",), ("variance",))


def normalized(given: Given, form: Form, stopped: tuple[str, ...] = ()) -> torch.Tensor | None:
    """Returns x normalized as `form` has it, before weight and bias; None where it says nothing.

    The moments named in `stopped` are constants for autograd.
    """
    moments = _moments(given, form)
    if moments is None:
        return None
    mean, var = moments
    mean, var = mean.detach() if "mean" in stopped else mean, var.detach() if "variance" in stopped else var
    return (given.x - mean if form.centre == "mean" else given.x) / _root(form.denominator, var, given.eps)


def scaled(given: Given, form: Form, normal: torch.Tensor) -> torch.Tensor | None:
    """Returns normalized x with weight, bias and activation as `form` has them; None where it says nothing."""
    if given.weight is None and form.weight != "applied":
        return None
    if given.bias is None and form.bias != "applied":
        return None
    y = normal
    if given.weight is not None and form.weight != "ignored":
        y = y * given.wide(given.weight + 1 if form.weight == "1 + weight" else given.weight)
    if given.bias is not None and form.bias == "applied":
        y = y + given.wide(given.bias)
    if form.activation == "relu":
        return y.relu()
    return y * y.sigmoid() if form.activation == "silu" else y


def output(given: Given, form: Form, stopped: tuple[str, ...] = ()) -> torch.Tensor | None:
    """Returns the output as `form` has it, or None where it says nothing."""
    normal = normalized(given, form, stopped)
    return None if normal is None else scaled(given, form, normal)


def explain(seen: list[Step], right: Form, fits: Fits) -> Form | None:
    """Returns the form with the fewest mistakes whose outputs are all those `seen`, or None if none has them."""

    def has(form: Form) -> bool:
        pairs = ((y, output(given, form)) for given, y in seen)
        return all(exact is not None and fits(y, exact) for y, exact in pairs)

    return next(filter(has, alternatives(right)), None)
