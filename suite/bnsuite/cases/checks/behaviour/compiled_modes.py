"""COMPILE: flags, switches and absent statistics under torch.compile; and what compiling takes."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.behaviour import toggles
from bnsuite.cases.checks.behaviour.validity import ended
from bnsuite.cases.checks.case import BehaviourCase, CannotLookError, Observation, Subject
from bnsuite.cases.checks.reference import unsettle

if TYPE_CHECKING:
    import torch

#: Graphs as they are traced, as they are taken apart, and as they are compiled.
AOT, PARTS, INDUCTOR = ("aot_eager", "aot_eager_decomp_partition", "inductor")


@cache
def need(backend: str, device: str) -> None:
    """Nothing to look at where the compiler lacks something: a trivial function tells."""
    import torch

    if backend == INDUCTOR and device == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        raise CannotLookError("no C++ compiler is on the PATH")

    def trivial(x: torch.Tensor) -> torch.Tensor:
        return x.sin() + 1

    try:
        torch.compile(trivial, backend=backend)(torch.ones(3, device=device))
    except Exception as error:
        raise CannotLookError(f"torch.compile has no working {backend} here: {type(error).__name__}") from error


def counted() -> Any:
    """Torch's own counts of what it did since it was reset."""
    from torch._dynamo.utils import counters

    return counters


def reset() -> None:
    import torch

    torch.compiler.reset()
    counted().clear()


def _cumulative(subject: Subject, *, dimensions: int, backend: str) -> Iterator[Observation]:
    """A cumulative average, which divides on the host: how often that breaks the graph is pinned."""
    import torch

    need(backend, subject.device)
    setting = toggles.Setting(training=True, made=True, momentum=None)
    for fullgraph in (False, True):
        reset()
        try:
            layer = toggles.made(subject, dimensions, setting)
            call: Any = torch.compile(layer, backend=backend, fullgraph=fullgraph)
            x = subject.randn(*toggles.SHAPES[dimensions])
            outcome = ended(partial(call, x))
            yield Observation(f"fullgraph={fullgraph}/outcome", outcome, expected=None if fullgraph else "returned")
            if outcome != "returned":
                continue
            other = subject.randn(*toggles.SHAPES[dimensions], seed=1, mean=-1.0)
            read, wrote = toggles.look_at(call, other, None)
            yield Observation(f"fullgraph={fullgraph}/read", read, expected="batch")
            yield Observation(f"fullgraph={fullgraph}/written", wrote, expected="+".join(toggles.STATISTICS))
            yield Observation(f"fullgraph={fullgraph}/graph breaks", str(sum(counted()["graph_break"].values())))
        finally:
            reset()


def _table(subject: Subject, *, dimensions: int, training: bool, backend: str) -> Iterator[Observation]:
    """Flags and buffers in every combination: what is read and written, or the error, is what it is in eager."""
    import torch

    need(backend, subject.device)
    x = subject.randn(*toggles.SHAPES[dimensions])
    for built, later, taken in product((True, False), (None, True, False), ("kept", "taken", "counter-taken")):
        if (taken != "kept" and not built) or (taken == "counter-taken" and not training):
            continue
        setting = toggles.Setting(training, built, later, taken=taken)
        due = toggles.look_at(toggles.made(subject, dimensions, setting), x)
        reset()
        try:
            layer = toggles.made(subject, dimensions, setting)
            seen = toggles.look_at(torch.compile(layer, backend=backend), x)  # type: ignore[arg-type]
        finally:
            reset()
        what = f"made={built}/set={later}/buffers={taken}".lower()
        for part, one, other in zip(("read", "written"), seen, due, strict=True):
            yield Observation(f"{what}/{part}", one, expected=other)


def _functional(subject: Subject, *, dimensions: int, backend: str) -> Iterator[Observation]:
    """The function below the layers: it runs or refuses as in eager, whatever is absent."""
    import torch
    from torch.nn import functional

    need(backend, subject.device)
    shape = toggles.SHAPES[dimensions]
    for training, given, affine in product((True, False), ("both", "none", "mean"), (True, False)):
        mean, var, weight, bias = (
            torch.full((shape[1],), float(one), device=subject.device) if there else None
            for one, there in ((3, given != "none"), (7, given == "both"), (2, affine), (1, affine))
        )

        def call(x: torch.Tensor, *, of: Any = (mean, var, weight, bias), training: bool = training) -> torch.Tensor:
            return functional.batch_norm(x, of[0], of[1], of[2], of[3], training=training)

        def word(one: Callable[..., Any]) -> str:
            return "returned" if ended(partial(one, subject.randn(*shape))) == "returned" else "refused"

        due = word(call)
        reset()
        try:
            seen = word(torch.compile(call, backend=backend))
        finally:
            reset()
        what = f"training={training}/statistics={given}/affine={affine}".lower()
        yield Observation(what, seen, expected=due)


def _switched(subject: Subject, *, dimensions: int, backend: str) -> Iterator[Observation]:
    """One compiled layer that is switched to and fro, frozen and loaded as it goes: it does what eager does."""
    import torch

    need(backend, subject.device)
    layer = toggles.made(subject, dimensions, toggles.Setting(training=True, made=True))
    twin = copy.deepcopy(layer)
    other = copy.deepcopy(unsettle(copy.deepcopy(layer), seed=9).state_dict())
    x = subject.randn(*toggles.SHAPES[dimensions])
    ways: dict[str, Callable[[Any], Any]] = {
        "train": lambda one: one.train(),
        "eval": lambda one: one.eval(),
        "train again": lambda one: one.train(),
        "loaded": lambda one: one.load_state_dict(other),
        "frozen": lambda one: one.eval().requires_grad_(False),
        "loaded in eval": lambda one: one.load_state_dict(other),
        "momentum": lambda one: setattr(one.train(), "momentum", 0.9),
    }
    reset()
    try:
        call: Any = torch.compile(layer, backend=backend)
        for name, way in ways.items():
            momentum = 0.9 if name == "momentum" else toggles.MOMENTUM
            results = []
            for one, run in ((layer, call), (twin, twin)):
                way(one)
                results.append(toggles.look_at(run, x, momentum))
            for part, seen, due in zip(("read", "written"), *results, strict=True):
                yield Observation(f"{name}/{part}", seen, expected=due)
    finally:
        reset()


def cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="COMPILE", limit_s=300.0)
    rule = "what a compiled layer reads and writes, or refuses, is what it is in eager"
    for training in (True, False):
        yield case(
            name=f"{PARTS}/batch_norm2d/table/{'train' if training else 'eval'}",
            look=partial(_table, dimensions=2, training=training, backend=PARTS),
            rule=rule,
            rows=("A34",),
        )
    for backend in (AOT, PARTS):
        yield case(
            name=f"{backend}/functional",
            look=partial(_functional, dimensions=2, backend=backend),
            rule=rule,
            rows=("A34",),
            torch_only=True,
        )
        yield case(
            name=f"{backend}/batch_norm2d/cumulative",
            look=partial(_cumulative, dimensions=2, backend=backend),
            rule="a cumulative average is right, with as many breaks of the graph as were accepted",
        )
    for dimensions in toggles.SHAPES:
        yield case(
            name=f"{PARTS}/batch_norm{dimensions}d/switched",
            look=partial(_switched, dimensions=dimensions, backend=PARTS),
            rule=rule,
        )
