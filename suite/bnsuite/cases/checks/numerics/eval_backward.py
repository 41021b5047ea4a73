"""Family ``eval-backward``: backward in evaluation mode, where the statistics are constants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from bnsuite.cases import gpu_errors
from bnsuite.cases.checks.case import NumericsCase, Observation, Observe, Subject
from bnsuite.cases.checks.material.arithmetic import (
    StepResult,
    compare,
    layer_step,
    reference_step,
    state_of,
    step_against_float64,
)
from bnsuite.cases.checks.material.layouts import lay
from bnsuite.cases.checks.material.settings import KINDS, PLAIN, Kind, Setting


def _same(one: StepResult, other: StepResult) -> str:
    """Returns "same" if two steps gave the same bits, else "different"."""
    import torch

    pairs = ((getattr(one, name), getattr(other, name)) for name in ("y", "dx", "dweight", "dbias"))
    equal = all(a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)
    return "same" if equal else "different"


def _closed(
    subject: Subject, *, setting: Setting, dy: str = "contiguous", var: float | None = None
) -> Iterator[Observation]:
    """A step in evaluation mode against float64, from random incoming gradients in a layout of their own, and the
    same step again; `var`, if given, is every channel's running variance.
    """
    layer, x = setting.layer(subject).eval(), setting.x(subject)
    if var is not None:
        layer.get_buffer("running_var").fill_(var)
    incoming = lay(subject.randn(*x.shape, seed=1, dtype=setting.dtype), dy)
    with setting.backend():
        yield from list(step_against_float64(layer, x, incoming, eps=setting.eps))
        first, second = (layer_step(layer, x, incoming) for _ in range(2))
    yield Observation("repeated", _same(first, second), expected="same")


def _apart(subject: Subject, *, setting: Setting) -> Iterator[Observation]:
    """Checks that samples are independent in evaluation: without an incoming gradient, a sample's gradient is zero."""
    import torch

    layer, x = setting.layer(subject).eval(), setting.x(subject)
    dy = subject.randn(*x.shape, seed=1, dtype=setting.dtype)
    alone = torch.zeros_like(dy)
    alone[1] = dy[1]
    with setting.backend():
        whole, part, double = (layer_step(layer, x, one).dx for one in (dy, alone, dy * 2.0))
    assert whole is not None
    assert part is not None
    assert double is not None
    rest = torch.cat((part[:1], part[2:])).abs().max().item()
    yield Observation("gradient of the others", rest, 0.0)
    yield Observation("its own", "same" if torch.equal(part[1], whole[1]) else "different", expected="same")
    yield Observation(
        "of twice the gradient", "twice" if torch.equal(double, whole * 2.0) else "other", expected="twice"
    )


def _switched(subject: Subject, *, setting: Setting, to: str) -> Iterator[Observation]:
    """Checks that the mode of the forward pass counts, not that before or after it."""
    layer, x = setting.layer(subject), setting.x(subject)
    dy = subject.randn(*x.shape, seed=1)
    if to == "from training":
        layer_step(layer, setting.x(subject, 2), dy)
        yield from step_against_float64(layer.eval(), x, dy)
        return
    start = state_of(layer.eval())
    leaf = x.requires_grad_()
    y = layer(leaf)
    layer.train()
    y.backward(dy)
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    seen = StepResult(y=y.detach(), dx=leaf.grad, dweight=weight.grad, dbias=bias.grad)
    exact, rounded = (
        replace(reference_step(start, x, dy, exact=one), running_mean=None, running_var=None) for one in (True, False)
    )
    yield from compare(seen, exact, rounded)


def _overtaken(subject: Subject, *, setting: Setting) -> Iterator[Observation]:
    """Runs evaluation, a training pass that moves the statistics, and the backward pass of the first.

    It is right or refused, but not computed from the moved statistics.
    """
    layer, x = setting.layer(subject).eval(), setting.x(subject).requires_grad_()
    dy = subject.randn(*x.shape, seed=1)
    exact, rounded = (reference_step(state_of(layer), x, dy, exact=one).dx for one in (True, False))
    y = layer(x)
    layer.train()(setting.x(subject, 2))
    try:
        y.backward(dy)
    except RuntimeError as error:
        gpu_errors.note(error)
        outcome = "right or refused"
    else:
        parts = (StepResult(dx=one) for one in (x.grad, exact, rounded))
        wrong = any(float(one.value) > (one.limit or 0.0) for one in compare(*parts))
        outcome = "wrong" if wrong else "right or refused"
    yield Observation("the way back", outcome, expected="right or refused")


CLOSED = "the gradients are those of a fixed scale and shift, and repeat"
ALONE = "the gradient of a sample does not depend on the others, and is linear"
MODE = "the backward pass uses the mode of the forward pass"
ROWS = ("N67", "N68")

Entry = tuple[str, Observe, str, tuple[str, ...]]


def _entries(cudnn: bool) -> Iterator[Entry]:
    """Yields each check before it is a case: its name, its function, its rule and its rows."""
    for kind in KINDS:
        setting = Setting(kind=kind, cudnn=cudnn)
        layouts = ("contiguous", "reversed", "expanded", *(("channels-last",) if kind is PLAIN else ()))
        for dy in layouts:
            yield f"{kind.name}/dy={dy}", partial(_closed, setting=setting, dy=dy), CLOSED, ROWS
        yield f"{kind.name}/affine=false", partial(_closed, setting=replace(setting, affine=False)), CLOSED, ROWS
        batch = replace(setting, tracked=False)
        yield (
            f"{kind.name}/untracked",
            partial(_closed, setting=batch),
            "without running statistics, those of the batch are used",
            (),
        )
        yield f"{kind.name}/apart", partial(_apart, setting=setting), ALONE, ("N68",)
        for to in ("from training", "to training"):
            yield f"{kind.name}/{to.replace(' ', '-')}", partial(_switched, setting=setting, to=to), MODE, ROWS
    yield "batch_norm2d/overtaken", partial(_overtaken, setting=Setting(cudnn=cudnn)), MODE, ("S03",)
    wide = Setting(kind=Kind("", 2, (4, 65, 5, 6)), cudnn=cudnn)
    for layout in ("channels-last", "reversed"):
        yield f"batch_norm2d/x={layout}", partial(_closed, setting=replace(wide, layout=layout)), CLOSED, ROWS
    for dtype in ("float64", "bfloat16", "float16"):
        yield f"batch_norm2d/{dtype}", partial(_closed, setting=replace(wide, dtype=dtype)), CLOSED, ROWS
    for var in (1e-8, 1e-4, 1e8):
        for eps in (1e-12, 1e-5, 1e-3):
            observe = partial(_closed, setting=replace(wide, eps=eps), var=var)
            yield f"batch_norm2d/var={var:g}/eps={eps:g}", observe, CLOSED, ROWS


def cases() -> Iterator[NumericsCase]:
    """Every check, and on CUDA a second time with cuDNN off."""
    for cudnn in (True, False):
        for name, observe, rule, rows in _entries(cudnn):
            yield NumericsCase(
                group="eval-backward",
                name=name if cudnn else f"{name}/cudnn=off",
                observe=observe,
                rule=rule,
                rows=rows,
                gpu_only=not cudnn,
                quick=cudnn and name.endswith(("/dy=contiguous", "/dy=reversed", "/apart", "/from-training")),
            )
