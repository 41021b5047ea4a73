"""Outputs against closed forms: shape, type, and the formula that gives them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from bnsuite.cases.diagnosis.deviation import Deviation
from bnsuite.cases.diagnosis.forms import Form, Given, explain, output
from bnsuite.cases.diagnosis.material import STATISTICS, STDS, Subject, agree, double, error, tensor
from bnsuite.cases.support import DEFAULTS, layout_of

if TYPE_CHECKING:
    import torch
    from torch import nn

TRAINING, EVALUATION = Form(), Form(statistics="running")
#: A second eps, which shows where it stands: it is above the smallest variances and below the others.
OTHER_EPS = 0.01
#: A mean this many deviations from 0, which a variance made of squares does not survive in float32.
FAR = 3000.0
#: The most a two-pass variance loses there, relative to the output.
FAR_ERROR = 0.05

#: The most that float64 arithmetic loses.
DOUBLE_ERROR = 1e-10


def start(layer: nn.Module, x: torch.Tensor, eps: float = DEFAULTS["eps"]) -> Given:
    """Returns what a forward pass of a layer starts from, in float64."""

    def fitting(name: str) -> torch.Tensor | None:
        found = tensor(layer, name)
        return found if found is not None and found.shape == (x.shape[1],) else None

    weight, bias, running_mean, running_var = (fitting(name) for name in ("weight", "bias", *STATISTICS))
    return Given(double(x), weight, bias, running_mean, running_var, eps)


def steps(subject: Subject, *, training: bool) -> list[tuple[Given, torch.Tensor]]:
    """Returns two forward passes: with torch's eps and, if it can be given, with OTHER_EPS."""
    import torch

    found = []
    for eps in (DEFAULTS["eps"], OTHER_EPS)[: 1 if "eps" in subject.withheld else 2]:
        layer = subject.layer(eps=eps).train(training)
        x = subject.draw()
        given = start(layer, x, eps)
        with torch.no_grad():
            found.append((given, double(layer(x))))
    return found


def form_of(subject: Subject, right: Form) -> Form | None:
    """Returns the formula of the outputs, where one is found."""
    seen = steps(subject, training=right == TRAINING)
    if any(y.shape != given.x.shape for given, y in seen):
        return None
    return explain(seen, right, lambda y, exact: agree(y, exact, subject.tolerance))


def training(subject: Subject) -> Iterator[Deviation]:
    """Yields what is wrong with the output of a training step."""
    import torch

    with torch.no_grad():
        y = subject.layer()(subject.draw())
    if (wrong := _shape(subject, y)) is not None:
        yield wrong
        return
    form = form_of(subject, TRAINING)
    if form is None:
        yield _unexplained(subject, TRAINING, "value")
        return
    yield from _mistakes(form, TRAINING, "value")
    if form == TRAINING and _loses_variance(subject):
        yield Deviation("value", "cancellation", {"deviations": FAR})


def evaluation(subject: Subject) -> Iterator[Deviation]:
    """Yields what is wrong with the output of an evaluation; mistakes that training has as well are among them."""
    layer = subject.layer()
    if any(tensor(layer, name) is None for name in STATISTICS):
        return  # the layer evaluates by the batch, and its missing buffers are a deviation of its state
    form = form_of(subject, EVALUATION)
    if form is None:
        in_training = form_of(subject, TRAINING)
        if in_training is not None:  # else the same is wrong in training
            yield _unexplained(subject, EVALUATION, "mode")
        return
    for one in _mistakes(form, EVALUATION, "mode"):
        common = one.code not in {"statistics", "variance"}
        yield replace(one, stage="value") if common else one


def of_kind(subject: Subject) -> Iterator[Deviation]:
    """Yields one deviation if the output of a training step is wrong; the caller adds the kind of input."""
    import torch

    layer, x = subject.layer(), subject.draw()
    given = start(layer, x)
    with torch.no_grad():
        y = layer(x)
    if (wrong := _shape(subject, y)) is not None:
        yield wrong
        return
    exact = output(given, TRAINING)
    assert exact is not None
    if not agree(double(y), exact, subject.tolerance):
        yield Deviation("value", "kind")
    elif subject.kind.dtype == "float64" and not agree(double(y), exact, DOUBLE_ERROR):
        yield Deviation("value", "precision")
    elif subject.kind.layout == "channels-last" and x.dim() > 3 and layout_of(y) != "channels-last":
        yield Deviation("shape", "layout", {"is": layout_of(y)})


def _shape(subject: Subject, y: object) -> Deviation | None:
    """Returns the deviation of an output that is no tensor of the input's shape and type, or None."""
    import torch

    x = subject.draw()
    if not isinstance(y, torch.Tensor):
        return Deviation("shape", "output-type", {"is": type(y).__name__})
    if y.shape != x.shape:
        shapes = ("x".join(map(str, one.shape)) for one in (x, y))
        return Deviation("shape", "output-shape", dict(zip(("input_shape", "is"), shapes, strict=True)))
    if y.dtype != x.dtype:
        return Deviation("shape", "output-dtype", {"input": subject.kind.dtype, "is": str(y.dtype).partition(".")[2]})
    return None


def _mistakes(form: Form, right: Form, stage: str) -> Iterator[Deviation]:
    """Yields one deviation for each choice in which a formula differs from batch norm."""
    for code, choice in form.differences(right).items():
        yield Deviation(stage, code, {"is": choice})


def _unexplained(subject: Subject, right: Form, stage: str) -> Deviation:
    """Returns the deviation of an output that no formula gives, with the channels where it is worst."""
    given, y = steps(subject, training=right == TRAINING)[0]
    exact = output(given, right)
    if exact is None or exact.shape != y.shape:
        return Deviation(stage, "unexplained", {"worst": "everywhere"})
    errors = error(y, exact).tolist()
    if max(errors) == float("inf"):
        return Deviation(stage, "unexplained", {"worst": "not finite"})
    by_size = [errors[n] for n in sorted(range(len(STDS)), key=STDS.__getitem__)]
    small, large = min(by_size[:2]), min(by_size[-2:])
    worst = "everywhere"
    if small > 10 * max(by_size[-2:]):
        worst = "small"
    elif large > 10 * max(by_size[:2]):
        worst = "large"
    return Deviation(stage, "unexplained", {"worst": worst, "error": max(errors)})


def _loses_variance(subject: Subject) -> bool:
    """Returns True if the output is lost far from 0, where float32 with two passes keeps it."""
    import torch

    if subject.kind.dtype != "float32":
        return False
    layer, x = subject.layer(), subject.draw(offset=FAR)
    given = start(layer, x)
    with torch.no_grad():
        y = double(layer(x))
    exact = output(given, TRAINING)
    assert exact is not None
    return float(error(y, exact)[0]) > FAR_ERROR  # the first channel has variance 1
