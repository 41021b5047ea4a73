"""Family ``higher-order``: derivatives of derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from bnsuite.cases import gpu_errors
from bnsuite.cases.checks.case import BOUNDLESS, NumericsCase, Observation, Observe, Subject
from bnsuite.cases.checks.material import other_norms
from bnsuite.cases.checks.material.arithmetic import LIMIT, error_ratio, randomize_state, state_of
from bnsuite.cases.checks.material.other_norms import Norm, affine_of
from bnsuite.cases.checks.material.settings import KINDS, Kind, Setting

if TYPE_CHECKING:
    import torch
    from torch import nn

    #: A norm as a function of an input, a weight and a bias; the latter two are left out where there are none.
    Function = Callable[..., torch.Tensor]

#: The largest error of a derivative in double precision, as a share of its size.
NEAR = 1e-6
#: Fewer numbers than elsewhere, for a derivative may be taken by each of them.
SMALL = {"batch_norm1d/nc": (5, 2), "batch_norm1d/ncl": (2, 2, 3), "batch_norm2d": (2, 2, 2, 2)}
SMALL["batch_norm3d"] = (2, 2, 1, 2, 2)


@dataclass(frozen=True)
class _Problem:
    """A layer in a mode, its composition of basic operations, and what goes into both."""

    layer: Function
    basic: Function
    leaves: tuple[torch.Tensor, ...]

    def fresh(self) -> tuple[torch.Tensor, ...]:
        return tuple(leaf.detach().clone().requires_grad_() for leaf in self.leaves)


def _problem(subject: Subject, setting: Setting, *, training: bool) -> _Problem:
    import torch

    module = setting.layer(subject).train(training)
    leaves = [setting.x(subject), getattr(module, "weight", None), getattr(module, "bias", None)]

    def layer(x: torch.Tensor, *affine: torch.Tensor) -> torch.Tensor:
        given = dict(zip(("weight", "bias"), affine, strict=False))
        found: torch.Tensor = torch.func.functional_call(module, given, (x,))
        return found

    basic = partial(_basic, module, state_of(module).by_batch)
    return _Problem(layer, basic, tuple(leaf.detach() for leaf in leaves if leaf is not None))


def _basic(module: nn.Module, by_batch: bool, x: torch.Tensor, *affine: torch.Tensor) -> torch.Tensor:
    """Two-pass batch norm by operations whose derivatives are sure, in the precision of `x`."""
    axes = [axis for axis in range(x.dim()) if axis != 1]
    shape = [1, -1, *[1] * (x.dim() - 2)]
    if by_batch:
        mean = x.mean(axes, keepdim=True)
        var = (x - mean).square().mean(axes, keepdim=True)
    else:
        mean, var = (module.get_buffer(name).to(x.dtype).view(shape) for name in ("running_mean", "running_var"))
    y = (x - mean) / (var + 1e-5).sqrt()
    for one, apply in zip(affine, (y.__class__.mul, y.__class__.add), strict=False):
        y = apply(y, one.view(shape))
    return y


def _weighted(subject: Subject, norm: Function, leaves: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """A number that has derivatives of every order, and none that cancels."""
    y = norm(*leaves)
    return (y.tanh() * subject.randn(*leaves[0].shape, seed=5, dtype=str(y.dtype).removeprefix("torch."))).sum()


def _gradients(subject: Subject, norm: Function, leaves: tuple[torch.Tensor, ...]) -> Iterator[torch.Tensor]:
    """The gradient of the number, then of that one's derivative in some direction, and so on, each as one vector."""
    import torch

    along = [subject.randn(*leaf.shape, seed=6, dtype="float64") for leaf in leaves]
    value = _weighted(subject, norm, leaves)
    while True:
        parts = torch.autograd.grad(value, leaves, create_graph=True)
        yield torch.cat([part.detach().flatten() for part in parts])
        value = torch.stack([(part * one).sum() for part, one in zip(parts, along, strict=True)]).sum()


def _orders(subject: Subject, *, setting: Setting, training: bool) -> Iterator[Observation]:
    problem = _problem(subject, setting, training=training)
    with setting.backend():
        yield from list(_each(subject, problem))


def _each(subject: Subject, problem: _Problem) -> Iterator[Observation]:
    """Derivatives of orders 1 to 4. From the third on a refusal may be how it is, but not a wrong number."""
    seen = _gradients(subject, problem.layer, problem.fresh())
    exact = _gradients(subject, problem.basic, problem.fresh())
    for order in range(1, 5):
        truth = next(exact)
        try:
            found = next(seen)
        except (RuntimeError, NotImplementedError) as error:
            gpu_errors.note(error)
            yield Observation(f"order {order}", "refused", expected="computed" if order < 3 else None)
            return
        yield Observation(f"order {order}", _off(found, truth), NEAR)


def _others(subject: Subject, *, norm: Norm) -> Iterator[Observation]:
    """The same of another norm, as a function of its input."""
    layer = randomize_state(norm.layer()).to(subject.device).double()
    leaf = subject.randn(*norm.shape, dtype="float64")
    yield from _each(subject, _Problem(layer, lambda x: norm.reference_step(x, layer), (leaf,)))


def _other_problem(subject: Subject, norm: Norm, dtype: str) -> _Problem:
    """Another norm as a function of its input and its parameters."""
    import torch

    module = norm.module(subject).to(getattr(torch, dtype))
    named = affine_of(module)
    kept = {name: value.clone() for name, value in module.named_buffers()}

    def layer(x: torch.Tensor, *affine: torch.Tensor) -> torch.Tensor:
        given = {**dict(zip(named, affine, strict=False)), **kept}
        found: torch.Tensor = torch.func.functional_call(module, given, (x,))
        return found

    leaves = (subject.randn(*norm.shape, dtype=dtype), *(one.detach() for one in named.values()))
    return _Problem(layer, partial(norm.output, module), leaves)


def _with_parameters(subject: Subject, *, norm: Norm) -> Iterator[Observation]:
    """Derivatives of orders 1 to 3 by the input and the parameters; those of order 3 as `_each` has them."""
    yield from (one for one in _each(subject, _other_problem(subject, norm, "float64")) if one.what != "order 4")


def _other_penalty(subject: Subject, *, norm: Norm) -> Iterator[Observation]:
    problem = _other_problem(subject, norm, "float32")
    seen = _penalized(subject, problem, problem.layer, "float32")
    exact, rounded = (_penalized(subject, problem, problem.basic, dtype) for dtype in ("float64", "float32"))
    for name, *three in zip(("dx", "dweight", "dbias"), seen, exact, rounded, strict=False):
        yield Observation(name, error_ratio(*(one.flatten() for one in three)), LIMIT)


def _off(seen: torch.Tensor, exact: torch.Tensor) -> float:
    """The error as a share of the size."""
    error = ((seen - exact).norm() / exact.norm()).item()
    return error if math.isfinite(error) else BOUNDLESS


def _checked(subject: Subject, *, setting: Setting, training: bool) -> Iterator[Observation]:
    """Torch's own check by differences: of the gradient, its gradient, and forward mode."""
    from torch.autograd import gradcheck, gradgradcheck

    problem = _problem(subject, setting, training=training)

    def passed(check: Callable[..., bool], **arguments: bool) -> str:
        try:
            check(problem.layer, problem.fresh(), **arguments)
        except (RuntimeError, NotImplementedError) as error:
            gpu_errors.note(error)
            refused = "not implemented" in str(error) or "not supported" in str(error)
            return "refused" if refused else "wrong"
        return "right"

    with setting.backend():
        yield Observation("gradient", passed(gradcheck), expected="right")
        yield Observation("gradient of the gradient", passed(gradgradcheck), expected="right")
        yield from _pinned("forward mode", passed(gradcheck, check_forward_ad=True, check_backward_ad=False))
        yield from _pinned("batched", passed(gradcheck, check_batched_grad=True))


def _pinned(what: str, outcome: str) -> Iterator[Observation]:
    """Yields the accepted outcome, refused or not, which must not be wrong."""
    yield Observation(what, outcome, expected="right" if outcome == "wrong" else None)


def _penalized(subject: Subject, problem: _Problem, norm: Function, dtype: str) -> tuple[torch.Tensor, ...]:
    """Returns the gradients of a loss that holds the gradient of `norm` by its input."""
    import torch

    leaves = tuple(leaf.detach().to(getattr(torch, dtype)).requires_grad_() for leaf in problem.leaves)
    score = _weighted(subject, norm, leaves)
    (slope,) = torch.autograd.grad(score, leaves[0], create_graph=True)
    loss = (slope.flatten(1).norm(dim=1) - 1.0).square().mean() + score / 10
    return torch.autograd.grad(loss, leaves)


def _penalty(subject: Subject, *, setting: Setting, training: bool) -> Iterator[Observation]:
    """A gradient penalty, as critics have: the parameters' gradients of a loss that holds the input's gradient."""
    problem = _problem(subject, setting, training=training)
    with setting.backend():
        seen = _penalized(subject, problem, problem.layer, setting.dtype)
    exact, rounded = (_penalized(subject, problem, problem.basic, dtype) for dtype in ("float64", setting.dtype))
    for name, *three in zip(("dx", "dweight", "dbias"), seen, exact, rounded, strict=False):
        yield Observation(name, error_ratio(*three), LIMIT)


def _transforms() -> dict[str, Callable[[Callable[[Any], Any]], Callable[[Any], Any]]]:
    """Each takes a norm of one argument to another function of it."""
    from torch import func

    def forward(norm: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: func.jvp(norm, (x,), (x.cos(),))[1]

    def number(norm: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: (norm(x) * x.cos()).sum()

    return {
        "grad": lambda norm: func.grad(number(norm)),
        "vjp": lambda norm: lambda x: func.vjp(norm, x)[1](x.cos())[0],
        "jvp": forward,
        "jacrev": func.jacrev,
        "jacfwd": func.jacfwd,
        "hessian": lambda norm: func.hessian(number(norm)),
        "jvp of jvp": lambda norm: forward(forward(norm)),
        "jvp of grad": lambda norm: forward(func.grad(number(norm))),
        "grad of jvp": lambda norm: func.grad(number(forward(norm))),
        "vmap": lambda norm: lambda x: func.vmap(norm)(x.expand(2, *x.shape)),
        "vmap of grad": lambda norm: lambda x: func.vmap(func.grad(number(norm)))(x.expand(2, *x.shape)),
    }


def _transformed(subject: Subject, *, setting: Setting, training: bool) -> Iterator[Observation]:
    """Function transforms of the layer: right, or refused as they were before."""
    problem = _problem(subject, setting, training=training)
    x, *affine = problem.leaves
    for name, transform in _transforms().items():
        exact = transform(lambda one: problem.basic(one, *affine).tanh())(x)
        try:
            seen = transform(lambda one: problem.layer(one, *affine).tanh())(x)
        except (RuntimeError, NotImplementedError, ValueError) as error:
            gpu_errors.note(error)
            yield Observation(name, "refused")
        else:
            yield from _pinned(name, "right" if _off(seen.detach(), exact.detach()) <= NEAR else "wrong")


RULES = {
    "orders": "derivatives of every order are those of the formula, or refused",
    "gradcheck": "gradients and their gradients agree with finite differences",
    "penalty": "a gradient penalty trains as with basic operations",
    "transform": "a function transform gives the same results as with basic operations, or is refused as accepted",
}

NORMS = (Norm("layer_norm", (3, 5)), Norm("group_norm", (2, 4, 3)), Norm("instance_norm", (2, 2, 5)))

#: The shapes of other norms whose derivatives by input and parameters are taken.
SMALL_OTHERS: dict[str, tuple[int, ...]] = {"nc": (3, 6), "1d": (2, 4, 3), "2d": (2, 4, 2, 2), "3d": (2, 4, 2, 1, 2)}

Entry = tuple[str, Observe, tuple[str, ...]]


def _other_norms() -> Iterator[tuple[str, Norm]]:
    for kind in other_norms.KINDS:
        for dimensions, shape in SMALL_OTHERS.items():
            if kind != other_norms.INSTANCE:
                yield f"{kind}/{dimensions}", Norm(kind, shape)
            elif dimensions != "nc":
                for training, tracked in ((True, False), (True, True), (False, True)):
                    mode, kept = ("train" if training else "eval"), ("tracked" if tracked else "untracked")
                    yield f"{kind}/{dimensions}/{mode}/{kept}", Norm(kind, shape, training, tracked)


def _entries(cudnn: bool) -> Iterator[Entry]:
    """Yields each check before it is a case: its name, its function and its rows."""
    for kind in KINDS:
        small = Setting(kind=Kind(kind.name, kind.dimensions, SMALL[kind.name]), dtype="float64", cudnn=cudnn)
        for training in (True, False):
            mode = "train" if training else "eval"
            for label, setting in (
                (mode, small),
                (f"{mode}/affine=false", replace(small, affine=False)),
                (f"{mode}/untracked", replace(small, tracked=False)),
            ):
                observe: Observe = partial(_orders, setting=setting, training=training)
                yield f"orders/{kind.name}/{label}", observe, ("N71",) if "train" in label else ()
            observe = partial(_checked, setting=small, training=training)
            yield f"gradcheck/{kind.name}/{mode}", observe, ()
            for dtype in ("float64", "float32"):
                observe = partial(_penalty, setting=replace(small, kind=kind, dtype=dtype), training=training)
                yield f"penalty/{kind.name}/{mode}/{dtype}", observe, ("N70",)


def cases() -> Iterator[NumericsCase]:
    """Every check, and on CUDA a second time with cuDNN off."""
    for cudnn in (True, False):
        for name, observe, rows in _entries(cudnn):
            first = name.split("/")[0]
            yield NumericsCase(
                group="higher-order",
                name=name if cudnn else f"{name}/cudnn=off",
                observe=observe,
                rule=RULES[first],
                rows=rows,
                gpu_only=not cudnn,
                quick=cudnn
                and name.endswith(("/train/float32", "orders/batch_norm2d/train", "gradcheck/batch_norm2d/eval")),
            )
    for training in (True, False):
        for tracked in (True, False):
            setting = Setting(kind=Kind("", 2, (2, 2, 2, 2)), dtype="float64", tracked=tracked)
            yield NumericsCase(
                group="higher-order",
                name=f"transform/{'train' if training else 'eval'}/{'tracked' if tracked else 'untracked'}",
                observe=partial(_transformed, setting=setting, training=training),
                rule=RULES["transform"],
                rows=("A38",),
                quick=False,
            )
    for norm in NORMS:
        observe = partial(_others, norm=norm)
        name = f"orders/{norm.kind}"
        yield NumericsCase(
            group="higher-order", name=name, observe=observe, rule=RULES["orders"], torch_only=True, quick=False
        )
    for name, norm in _other_norms():
        for what, check in (("orders", _with_parameters), ("penalty", _other_penalty)):
            yield NumericsCase(
                group="higher-order",
                name=f"{what}/{name}" + ("/float32" if what == "penalty" else "/parameters"),
                observe=partial(check, norm=norm),
                rule=RULES[what],
                rows=("N71",) if what == "orders" and norm.kind == other_norms.INSTANCE else (),
                torch_only=True,
                quick=False,
            )
