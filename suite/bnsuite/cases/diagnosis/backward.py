"""Gradients against autograd through the formula of the outputs: what they are the gradients of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnsuite.cases.diagnosis.deviation import Deviation
from bnsuite.cases.diagnosis.forms import STOPS, Form, Given, normalized, scaled
from bnsuite.cases.diagnosis.material import Subject, agree, double
from bnsuite.cases.diagnosis.outputs import EVALUATION, TRAINING, form_of, start

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Gradients:
    """Gradients of one step in float64, None where there is none."""

    dx: torch.Tensor | None
    dweight: torch.Tensor | None
    dbias: torch.Tensor | None


def training(subject: Subject) -> Iterator[Deviation]:
    """Yields what is wrong with the gradients of a training step, given the formula of its outputs."""
    layer, x, dy = subject.layer(), subject.draw(), subject.gradient()
    seen = _seen(layer, x, dy)
    if seen is None:
        yield Deviation("gradient", "no-graph")
        return
    form = form_of(subject, TRAINING)
    if form is None:
        return
    given = start(subject.layer(), x)
    exact = [_exact(given, form, dy, stopped) for stopped in STOPS]
    yield from _of_input(seen, exact, subject.tolerance)
    yield from _of_parameters(seen, exact[0], given, double(dy), subject.tolerance)


def evaluation(subject: Subject) -> Iterator[Deviation]:
    """Yields what is wrong with the gradient of the input in evaluation."""
    layer, x, dy = subject.layer().eval(), subject.draw(), subject.gradient()
    seen = _seen(layer, x, dy)
    form = form_of(subject, EVALUATION)
    if form is None or form.statistics != "running":
        return
    if seen is None:
        yield Deviation("gradient", "no-graph-in-evaluation")
        return
    given = start(subject.layer(), x)
    if _fits(seen.dx, _exact(given, form, dy).dx, subject.tolerance):
        return
    of_batch = _exact(given, TRAINING, dy).dx
    code = "evaluation-of-training" if _fits(seen.dx, of_batch, subject.tolerance) else "evaluation-unexplained"
    yield Deviation("gradient", code)


def _of_input(seen: Gradients, exact: list[Gradients], tolerance: float) -> Iterator[Deviation]:
    """Yields the deviation of dx: the moments that are constants in the backward pass, as far as that explains it."""
    for stopped, one in zip(STOPS, exact, strict=True):
        if _fits(seen.dx, one.dx, tolerance):
            if stopped:
                yield Deviation("gradient", "stopped", {"is": " and ".join(stopped)})
            return
    yield Deviation("gradient", "missing" if seen.dx is None else "unexplained", {"of": "x"})


def _of_parameters(
    seen: Gradients, exact: Gradients, given: Given, dy: torch.Tensor, tolerance: float
) -> Iterator[Deviation]:
    """Yields the deviations of dweight and dbias."""
    axes = [axis for axis in range(dy.dim()) if axis != 1]
    count = dy.numel() // dy.shape[1]
    wrong = {"weight": (dy * given.x).sum(axes), "bias": None}
    for name, one, truth in (("weight", seen.dweight, exact.dweight), ("bias", seen.dbias, exact.dbias)):
        if truth is None or _fits(one, truth, tolerance):
            continue
        if one is None:
            yield Deviation("gradient", "missing", {"of": name})
        elif not bool(one.any()):
            yield Deviation("gradient", "zero", {"of": name})
        elif _fits(one, truth / count, tolerance):
            yield Deviation("gradient", "averaged", {"of": name})
        elif _fits(one, wrong[name], tolerance):
            yield Deviation("gradient", "of-input", {"of": name})
        else:
            yield Deviation("gradient", "unexplained", {"of": name})


def _fits(seen: torch.Tensor | None, exact: torch.Tensor | None, tolerance: float) -> bool:
    """Returns True if a gradient agrees; gradients cancel, so that they are allowed ten times the error of outputs."""
    return exact is not None and agree(seen, exact, 10 * tolerance)


def _seen(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor) -> Gradients | None:
    """Returns the gradients of one step of a layer, or None if its output has no graph."""
    leaf = x.detach().requires_grad_()
    y = layer(leaf)
    if not y.requires_grad:
        return None
    y.backward(dy)
    found = [leaf.grad, *(getattr(getattr(layer, name, None), "grad", None) for name in ("weight", "bias"))]
    return Gradients(*(None if one is None else double(one) for one in found))


def _exact(given: Given, form: Form, dy: torch.Tensor, stopped: tuple[str, ...] = ()) -> Gradients:
    """Returns the gradients of a formula by autograd in float64."""
    leaves = [None if one is None else one.clone().requires_grad_() for one in (given.x, given.weight, given.bias)]
    x, weight, bias = leaves
    assert x is not None
    of = Given(x, weight, bias, given.running_mean, given.running_var, given.eps)
    normal = normalized(of, form, stopped)
    assert normal is not None
    y = scaled(of, form, normal)
    assert y is not None
    y.backward(double(dy))
    return Gradients(*(None if one is None else one.grad for one in leaves))
