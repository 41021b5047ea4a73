"""Family ``other-norms``: layer, group, instance and RMS norm under autocast, and taken out of Python."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

from bnsuite.cases import gpu_errors
from bnsuite.cases.checks.behaviour.export import exporters
from bnsuite.cases.checks.case import BehaviourCase, Observation, Subject
from bnsuite.cases.checks.material.arithmetic import compare, same_bits
from bnsuite.cases.checks.material.layouts import channels_last
from bnsuite.cases.checks.material.other_norms import GROUP, INSTANCE, LAYER, RMS, Norm, step_of

if TYPE_CHECKING:
    import torch
    from torch import nn

HALVES = ("bfloat16", "float16")
SHAPES: dict[str, tuple[int, ...]] = {"1d": (6, 6, 5), "2d": (5, 6, 3, 4), "3d": (4, 6, 2, 3, 3)}


def _norms() -> Iterator[tuple[str, Norm]]:
    for kind, (dimensions, shape) in product((LAYER, RMS, GROUP, INSTANCE), SHAPES.items()):
        if kind != INSTANCE:
            yield f"{kind}/{dimensions}", Norm(kind, shape)
            continue
        for training, tracked in ((True, False), (True, True), (False, True)):
            mode, kept = ("train" if training else "eval"), ("tracked" if tracked else "untracked")
            yield f"{kind}/{dimensions}/{mode}/{kept}", Norm(kind, shape, training, tracked)


NORMS = dict(_norms())
#: Exporters that take milliseconds, and those that take longer. Decomposed programs are what compiled ones are made of.
FAST, SLOW = ("script", "script-saved", "trace"), ("export", "export-dynamic")


def _under(subject: Subject, half: str) -> AbstractContextManager[object]:
    import torch

    return torch.autocast(torch.device(subject.device).type, dtype=getattr(torch, half))


class _Cast:
    """A layer whose output is cast to the precision of the incoming gradient; `y` is the output as it came."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        self.layer, self.dtype = layer, dtype

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.y: torch.Tensor = self.layer(x)
        cast: torch.Tensor = self.y.to(self.dtype)
        return cast

    def __getattr__(self, name: str) -> object:
        return getattr(self.layer, name)


def _autocast(subject: Subject, *, norm: Norm, half: str, given: str, last: bool) -> Iterator[Observation]:
    """A step under autocast, with and without parameters: it is as exact as its input allows."""
    for affine in (True, False):
        case = replace(norm, affine=affine)
        layer = case.module(subject)
        x, dy = (subject.randn(*norm.shape, seed=seed, dtype=given) for seed in (0, 1))
        if last:
            x, dy = channels_last(x), channels_last(dy)
        exact, rounded = (case.reference(layer, x, dy, exact=one) for one in (True, False))
        what = f"affine={'on' if affine else 'off'}"
        cast = _Cast(layer, dy.dtype)
        try:
            with _under(subject, half):
                seen = step_of(cast, x, dy)  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001  # whatever it raises is what is looked at
            gpu_errors.note(error)
            yield Observation(f"{what}/outcome", type(error).__name__, expected="returned")
            continue
        yield Observation(f"{what}/outcome", "returned", expected="returned")
        yield Observation(f"{what}/dtype", str(cast.y.dtype).removeprefix("torch."))
        seen.y = cast.y.detach()
        rounded.y = None if rounded.y is None else rounded.y.to(seen.y.dtype)
        yield from compare(*map(case.by_slice, (seen, exact, rounded)), prefix=f"{what}/")
        yield Observation(f"{what}/dtype of dx", str(_dtype(seen.dx)), expected=str(x.dtype))
        kept = {str(one.dtype) for one in layer.state_dict().values() if one.is_floating_point()}
        yield Observation(f"{what}/state", "+".join(sorted(kept)) or "none", expected=_float32(case))


def _dtype(tensor: torch.Tensor | None) -> torch.dtype | None:
    return None if tensor is None else tensor.dtype


def _float32(norm: Norm) -> str:
    return "torch.float32" if norm.affine or norm.tracked else "none"


def _exported(subject: Subject, *, norm: Norm, exporter: exporters.Way) -> Iterator[Observation]:
    """Two steps of an exported layer, each from the state before it."""
    layer, twin = norm.module(subject), norm.module(subject)
    try:
        made = exporters.exported(exporter, layer, subject.randn(*norm.shape))
    except Exception as error:  # noqa: BLE001  # whatever refuses the layer is an outcome
        gpu_errors.note(error)
        yield Observation("outcome", type(error).__name__, expected="done")
        return
    yield Observation("outcome", "done", expected="done")
    larger = (norm.shape[0] + 3, *norm.shape[1:]) if exporter is exporters.export_dynamic else norm.shape
    for number in range(2):
        twin.load_state_dict(made.state_dict())
        x, dy = (subject.randn(*larger, seed=10 * number + one) for one in (1, 2))
        exact, rounded = (norm.reference(twin, x, dy, exact=one) for one in (True, False))
        seen = step_of(made, x, dy)
        yield from compare(*map(norm.by_slice, (seen, exact, rounded)), prefix=f"step {number}: ")


def _state(subject: Subject, *, norm: Norm) -> Iterator[Observation]:
    """A state that is saved and loaded gives the same bits."""
    import torch

    layer = norm.module(subject)
    x, dy = subject.randn(*norm.shape), subject.randn(*norm.shape, seed=1)
    layer(x)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    loaded = norm.layer().to(subject.device).train(norm.training)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    copied = copy.deepcopy(layer)
    first = step_of(layer, x, dy)
    for name, other in (("loaded", step_of(loaded, x, dy)), ("copied", step_of(copied, x, dy))):
        for part, one in vars(first).items():
            if one is not None:
                word = "the same" if same_bits(one, getattr(other, part)) else "another"
                yield Observation(f"{name}/{part}", word, expected="the same")


def cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="other-norms", torch_only=True)
    for (name, norm), half in product(NORMS.items(), HALVES):
        for given, last in product(("float32", half), (False, True) if "2d" in name else (False,)):
            yield case(
                name=f"autocast/{name}/{half}/x={given}{'/channels-last' if last else ''}",
                observe=partial(_autocast, norm=norm, half=half, given=given, last=last),
                rule="under autocast a step runs, is as exact as its input allows, and its state stays float32",
                rows=("A23",) if given == half else (),
                quick=norm.kind == LAYER and "1d" in name and half == "bfloat16",
            )
    for (name, norm), how in product(NORMS.items(), FAST + SLOW):
        # exporting takes time, so there are few of these
        if how in FAST or ("2d" in name and norm.tracked == (norm.kind == INSTANCE)):
            yield case(
                name=f"{how}/{name}",
                observe=partial(_exported, norm=norm, exporter=exporters.WAYS[how]),
                rule="an exported layer gives the results and the state of the layer",
                quick=False,
            )
    for name, norm in NORMS.items():
        yield case(
            name=f"state/{name}",
            observe=partial(_state, norm=norm),
            rule="a layer that is copied, or loaded from a saved state, gives the same bits",
            quick=False,
        )
