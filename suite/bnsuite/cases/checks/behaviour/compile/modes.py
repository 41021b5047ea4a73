"""Flags, switches and absent statistics under torch.compile."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.behaviour.compile.backends import AOT, PARTS, counted, need, reset
from bnsuite.cases.checks.case import BehaviourCase, Observation, Subject
from bnsuite.cases.checks.material import flags
from bnsuite.cases.checks.material.arithmetic import randomize_state
from bnsuite.cases.checks.material.outcomes import outcome_of, returned_or_refused
from bnsuite.cases.checks.material.states import BUFFERS

if TYPE_CHECKING:
    import torch


def _cumulative(subject: Subject, *, dimensions: int, backend: str) -> Iterator[Observation]:
    """Runs a cumulative average, which divides on the host; the number of graph breaks is accepted in the baseline."""
    import torch

    need(backend, subject.device)
    setting = flags.Setting(training=True, made=True, momentum=None)
    for fullgraph in (False, True):
        reset()
        try:
            layer = flags.make(subject, dimensions, setting)
            call: Any = torch.compile(layer, backend=backend, fullgraph=fullgraph)
            x = subject.randn(*flags.SHAPES[dimensions])
            outcome = outcome_of(partial(call, x))
            yield Observation(f"fullgraph={fullgraph}/outcome", outcome, expected=None if fullgraph else "returned")
            if outcome != "returned":
                continue
            other = subject.randn(*flags.SHAPES[dimensions], seed=1, mean=-1.0)
            read, wrote = flags.read_and_written(call, other, None)
            yield Observation(f"fullgraph={fullgraph}/read", read, expected="batch")
            yield Observation(f"fullgraph={fullgraph}/written", wrote, expected="+".join(BUFFERS))
            yield Observation(f"fullgraph={fullgraph}/graph breaks", str(sum(counted()["graph_break"].values())))
        finally:
            reset()


def _table(subject: Subject, *, dimensions: int, training: bool, backend: str) -> Iterator[Observation]:
    """Runs every combination of flags and buffers: it reads, writes or raises as in eager mode."""
    import torch

    need(backend, subject.device)
    x = subject.randn(*flags.SHAPES[dimensions])
    for built, later, taken in product((True, False), (None, True, False), ("kept", "taken", "counter-taken")):
        if (taken != "kept" and not built) or (taken == "counter-taken" and not training):
            continue
        setting = flags.Setting(training, built, later, removed=taken)
        due = flags.read_and_written(flags.make(subject, dimensions, setting), x)
        reset()
        try:
            layer = flags.make(subject, dimensions, setting)
            seen = flags.read_and_written(torch.compile(layer, backend=backend), x)  # type: ignore[arg-type]
        finally:
            reset()
        what = f"made={built}/set={later}/buffers={taken}".lower()
        for part, one, other in zip(("read", "written"), seen, due, strict=True):
            yield Observation(f"{what}/{part}", one, expected=other)


def _functional(subject: Subject, *, dimensions: int, backend: str) -> Iterator[Observation]:
    """Runs the function below the layers: it runs or refuses as in eager mode, whatever is absent."""
    import torch
    from torch.nn import functional

    need(backend, subject.device)
    shape = flags.SHAPES[dimensions]
    for training, given, affine in product((True, False), ("both", "none", "mean"), (True, False)):
        mean, var, weight, bias = (
            torch.full((shape[1],), float(one), device=subject.device) if there else None
            for one, there in ((3, given != "none"), (7, given == "both"), (2, affine), (1, affine))
        )

        def call(x: torch.Tensor, *, of: Any = (mean, var, weight, bias), training: bool = training) -> torch.Tensor:
            return functional.batch_norm(x, of[0], of[1], of[2], of[3], training=training)

        due = returned_or_refused(partial(call, subject.randn(*shape)))
        reset()
        try:
            seen = returned_or_refused(partial(torch.compile(call, backend=backend), subject.randn(*shape)))
        finally:
            reset()
        what = f"training={training}/statistics={given}/affine={affine}".lower()
        yield Observation(what, seen, expected=due)


def _switched(subject: Subject, *, dimensions: int, backend: str) -> Iterator[Observation]:
    """Switches, freezes and loads one compiled layer between calls: it does what eager mode does."""
    import torch

    need(backend, subject.device)
    layer = flags.make(subject, dimensions, flags.Setting(training=True, made=True))
    twin = copy.deepcopy(layer)
    other = copy.deepcopy(randomize_state(copy.deepcopy(layer), seed=9).state_dict())
    x = subject.randn(*flags.SHAPES[dimensions])
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
            momentum = 0.9 if name == "momentum" else flags.MOMENTUM
            results = []
            for one, run in ((layer, call), (twin, twin)):
                way(one)
                results.append(flags.read_and_written(run, x, momentum))
            for part, seen, due in zip(("read", "written"), *results, strict=True):
                yield Observation(f"{name}/{part}", seen, expected=due)
    finally:
        reset()


def cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="compile", limit_s=300.0)
    rule = "a compiled layer reads, writes and refuses as in eager mode"
    for training in (True, False):
        yield case(
            name=f"{PARTS}/batch_norm2d/table/{'train' if training else 'eval'}",
            observe=partial(_table, dimensions=2, training=training, backend=PARTS),
            rule=rule,
            rows=("A34",),
        )
    for backend in (AOT, PARTS):
        yield case(
            name=f"{backend}/functional",
            observe=partial(_functional, dimensions=2, backend=backend),
            rule=rule,
            rows=("A34",),
            torch_only=True,
        )
        yield case(
            name=f"{backend}/batch_norm2d/cumulative",
            observe=partial(_cumulative, dimensions=2, backend=backend),
            rule="a cumulative average is exact, with as many graph breaks as accepted",
        )
    for dimensions in flags.SHAPES:
        yield case(
            name=f"{PARTS}/batch_norm{dimensions}d/switched",
            observe=partial(_switched, dimensions=dimensions, backend=PARTS),
            rule=rule,
        )
