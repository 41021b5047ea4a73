"""Family ``forward-mode``: directional derivatives, nested, batched, and mixed with the backward pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from bnsuite.cases import gpu_errors
from bnsuite.cases.checks.case import NumericsCase, Observation, Subject
from bnsuite.cases.checks.material.other_norms import BATCH, GROUP, INSTANCE, LAYER, RMS, Norm, affine_of

if TYPE_CHECKING:
    import torch

    #: A norm as a function of an input, and of a weight and a bias where it has them.
    Function = Callable[..., torch.Tensor]

#: The largest error of a derivative in double precision, as a share of its size.
NEAR = 1e-6
#: Large enough to be felt, so that a derivative that leaves it out is wrong.
EPS = 0.1


def _derivatives(subject: Subject, leaves: tuple[torch.Tensor, ...]) -> dict[str, Callable[[Function], torch.Tensor]]:
    """Returns each derivative as a function of a norm; all are in fixed directions, at `leaves`."""
    import torch
    from torch import func

    def direction(seed: int) -> tuple[torch.Tensor, ...]:
        return tuple(subject.randn(*leaf.shape, seed=seed + at, dtype="float64") for at, leaf in enumerate(leaves))

    one, other, third = direction(20), direction(30), direction(40)
    batch = tuple(torch.stack(parts) for parts in zip(one, other, third, strict=True))
    dy = subject.randn(*leaves[0].shape, seed=50, dtype="float64")

    def along(norm: Function, tangent: tuple[torch.Tensor, ...]) -> Function:
        return lambda *given: func.jvp(norm, given, tangent)[1]

    def backward(norm: Function) -> Function:
        return lambda *given: torch.cat([part.flatten() for part in func.vjp(norm, *given)[1](dy)])

    def batched(norm: Function) -> torch.Tensor:
        found: torch.Tensor = func.vmap(lambda *tangent: along(norm, tangent)(*leaves))(*batch)
        return found

    def nested_batched(norm: Function) -> torch.Tensor:
        found: torch.Tensor = func.vmap(lambda *tangent: along(along(norm, one), tangent)(*leaves))(*batch)
        return found

    return {
        "jvp": lambda norm: along(norm, one)(*leaves),
        "jvp of jvp": lambda norm: along(along(norm, one), other)(*leaves),
        "jvp of jvp of jvp": lambda norm: along(along(along(norm, one), other), third)(*leaves),
        "vmap of jvp": batched,
        "vmap of jvp of jvp": nested_batched,
        "jvp of vjp": lambda norm: along(backward(norm), one)(*leaves),
        "vjp of jvp": lambda norm: backward(along(norm, one))(*leaves),
    }


def _observe(subject: Subject, *, norm: Norm) -> Iterator[Observation]:
    """Each derivative by the input and the parameters at once: right, or refused as accepted, but not wrong."""
    import torch

    module = norm.module(subject).double()
    given = (subject.randn(*norm.shape, dtype="float64"), *affine_of(module).values())
    leaves = tuple(one.detach().clone() for one in given)
    kept = {name: value.clone() for name, value in module.named_buffers()}

    def seen(x: torch.Tensor, *affine: torch.Tensor) -> torch.Tensor:
        named = dict(zip(("weight", "bias"), affine, strict=False))
        y: torch.Tensor = torch.func.functional_call(module, {**named, **kept}, (x,))
        return y.tanh()

    def exact(x: torch.Tensor, *affine: torch.Tensor) -> torch.Tensor:
        return norm.output(module, x, *affine).tanh()

    for name, derivative in _derivatives(subject, leaves).items():
        truth = derivative(exact).detach()
        try:
            found = derivative(seen).detach()
        except (RuntimeError, NotImplementedError, ValueError) as error:
            gpu_errors.note(error)
            yield Observation(name, "refused")
            continue
        off = ((found - truth).norm() / truth.norm()).item()
        right = math.isfinite(off) and off <= NEAR
        yield Observation(name, "right" if right else "wrong", expected=None if right else "right")


SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    BATCH: ((6, 4), (3, 4, 5), (3, 4, 2, 3), (3, 4, 2, 1, 2)),
    LAYER: ((6, 4), (3, 4, 5)),
    RMS: ((6, 4), (3, 4, 5)),
    GROUP: ((6, 4), (3, 4, 5), (3, 4, 2, 3)),
    INSTANCE: ((3, 4, 5), (3, 4, 2, 3), (3, 4, 2, 1, 2)),
}


def _all_norms() -> Iterator[Norm]:
    """Every norm, and those that can keep statistics in both modes, with and without them."""
    for kind, shapes in SHAPES.items():
        for shape in shapes:
            yield Norm(kind, shape, eps=EPS)
            if kind in {BATCH, INSTANCE}:
                for training, tracked in ((False, False), (True, True), (False, True)):
                    yield Norm(kind, shape, training, tracked, EPS)


def _name(norm: Norm) -> str:
    shape = "x".join(map(str, norm.shape))
    if norm.kind not in {BATCH, INSTANCE}:
        return f"{norm.kind}/{shape}"
    mode, kept = ("train" if norm.training else "eval"), ("tracked" if norm.tracked else "untracked")
    return f"{norm.kind}/{shape}/{mode}/{kept}"


def cases() -> Iterator[NumericsCase]:
    for norm in _all_norms():
        rows = {BATCH: ("N83",), LAYER: ("N84",)}.get(norm.kind, ()) if norm.by_batch else ()
        yield NumericsCase(
            group="forward-mode",
            name=_name(norm),
            observe=partial(_observe, norm=norm),
            rule="a forward-mode derivative is that of the same computation by basic operations, or is refused",
            rows=rows,
            torch_only=norm.kind != BATCH,
            quick=norm.kind == BATCH and norm.shape == (6, 4) and norm.training,
        )
