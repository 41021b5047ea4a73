"""Family ``validation``: wrong arguments are errors, never crashes; the outcome of odd ones is accepted."""

from __future__ import annotations

import inspect
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsuite.cases import gpu_errors, implementation
from bnsuite.cases.checks.case import BehaviourCase, CheckNotApplicableError, Observation, Subject
from bnsuite.cases.checks.material.arithmetic import randomize_state, step_against_float64
from bnsuite.cases.checks.material.forks import Try, print_outcomes
from bnsuite.cases.checks.material.outcomes import returned_or_refused
from bnsuite.cases.checks.material.states import STATISTICS

if TYPE_CHECKING:
    import torch

CHANNELS = 5
#: The sizes of inputs, from the first dimension on: channels come second.
SIZES = (6, CHANNELS, 3, 4, 2, 3)
#: Dimensions that an input of ``BatchNorm1d``, ``2d`` and ``3d`` may have.
RANKS = {1: (2, 3), 2: (4,), 3: (5,)}
SHAPES: dict[int, tuple[int, ...]] = {1: SIZES[:3], 2: SIZES[:4], 3: SIZES[:5]}
#: Many channels beside tensors of a few values, so that an access beyond their end shows.
WIDE = 4000
SHORT = 2
#: Values of eps and momentum.
VALUES = (-100.0, -0.5, 0.0, 1e-30, 1, 1.5, 1e30, math.nan, math.inf)


def _try_layer(subject: Subject, dimensions: int, *, training: bool, name: str, length: int) -> None:
    """A step of a layer with one of its tensors of another `length`."""
    import torch

    layer = subject.batch_norm(dimensions, WIDE).train(training)
    tensor: Any = torch.ones(length, device=subject.device)
    setattr(layer, name, tensor if name in STATISTICS else torch.nn.Parameter(tensor))
    layer(subject.randn(SIZES[0], WIDE, *SHAPES[dimensions][2:])).sum().backward()


def _layer_tries(subject: Subject) -> Iterator[tuple[str, Try]]:
    """Layers and functions beside buffers and parameters that do not fit."""
    import torch
    from torch.nn import functional

    for dimensions, training, length in product(SHAPES, (True, False), (SHORT, 2 * WIDE)):
        for name in ("weight", "bias", *STATISTICS):
            mode = "train" if training else "eval"
            call = partial(_try_layer, subject, dimensions, training=training, name=name, length=length)
            yield f"batch_norm{dimensions}d/{mode}/{name}={length}", call
    x = partial(subject.randn, 2, WIDE, 3)
    few = partial(torch.ones, SHORT, device=subject.device)
    yield "functional/instance_norm/statistics", lambda: functional.instance_norm(x(), few(), few())
    yield "functional/instance_norm/weight", lambda: functional.instance_norm(x(), weight=few())
    yield "functional/group_norm/weight", lambda: functional.group_norm(x(), 2, few())
    yield "functional/batch_norm/eval/no-statistics", lambda: functional.batch_norm(x(), None, None)


def _operator_tries(subject: Subject) -> Iterator[tuple[str, Try]]:
    """Operators below the layers, each with one tensor too short, or absent where it is needed."""
    import torch

    operators: Any = torch.ops.aten
    x = partial(subject.randn, 3, WIDE, 4)

    def forward(training: bool, **of: Any) -> Any:
        return operators.native_batch_norm(x(), *_four(of), training, 0.1, 1e-5)

    def backward(training: bool, **of: Any) -> Any:
        given = (of.get(name) for name in ("weight", *STATISTICS, *saved))
        return operators.native_batch_norm_backward(x(), x(), *given, training, 1e-5, [True, True, True])

    def legit(training: bool, **of: Any) -> Any:
        return operators._native_batch_norm_legit(x(), *_four(of), training, 0.1, 1e-5)  # noqa: SLF001

    def update(**of: Any) -> Any:
        return operators.batch_norm_update_stats(x(), of["running_mean"], of["running_var"], 0.1)

    saved = ("save_mean", "save_invstd")
    names = ("weight", "bias", *STATISTICS)
    table: dict[str, tuple[Callable[..., Any], tuple[str, ...], tuple[str, ...]]] = {
        "native_batch_norm/train": (partial(forward, True), names, ()),
        "native_batch_norm/eval": (partial(forward, False), names, STATISTICS),
        "_native_batch_norm_legit/train": (partial(legit, True), names, ()),
        "_native_batch_norm_legit/eval": (partial(legit, False), names, ()),
        "native_batch_norm_backward/train": (partial(backward, True), ("weight", *STATISTICS, *saved), saved),
        "native_batch_norm_backward/eval": (partial(backward, False), ("weight", *STATISTICS), STATISTICS),
        "batch_norm_update_stats": (update, STATISTICS, ()),
    }
    unused = {("native_batch_norm_backward/train", name) for name in STATISTICS}

    def tried(call: Callable[..., Any], taken: tuple[str, ...], odd: str, length: int | None) -> None:
        made: dict[str, Any] = {name: torch.ones(WIDE, device=subject.device) for name in taken}
        made[odd] = None if length is None else torch.ones(length, device=subject.device)
        call(**made)

    for operator, (call, taken, needed) in table.items():
        for name in taken:
            if (operator, name) not in unused:
                yield f"{operator}/{name}=short", partial(tried, call, taken, name, SHORT)
        for name in needed:
            yield f"{operator}/{name}=none", partial(tried, call, taken, name, None)


def _four(of: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(of[name] for name in ("weight", "bias", *STATISTICS))


TRIES = {"layers": _layer_tries, "operators": _operator_tries}


def try_all(kind: str, device: str) -> None:
    """Tries everything of a `kind` in forks of this process, which may crash; prints the outcomes.

    This process itself has nothing to do with the device, which a copy could then not use. On a CPU each try has a fork
    of its own. CUDA has to start in every fork, which takes seconds: there a fork goes on to the next try until one
    crashes, hangs, or leaves the device with an error.
    """
    import resource

    import torch

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print_outcomes(list(TRIES[kind](Subject(device))), device, together=device != "cpu")


def _apart(subject: Subject, *, kind: str) -> Iterator[Observation]:
    """Checks that everything of a kind is refused or let through as accepted.

    A call that is let through may return or crash at random: the memory behind a short tensor may be anything.
    """
    if not hasattr(os, "fork"):
        raise CheckNotApplicableError("processes can't be copied here")
    root = str(Path(__file__).parents[4])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import try_all; try_all({kind!r}, {subject.device!r})"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    lines = [line.split(" ", 1) for line in done.stdout.splitlines() if " " in line]
    if done.returncode or not lines:
        raise RuntimeError(f"the tries broke off: {done.stderr.strip().splitlines()[-1:]}")
    for name, word in dict(lines).items():
        yield Observation(name, word if word in {"refused", "hangs"} else "let through", expected="refused")


def _ranks(subject: Subject, *, dimensions: int) -> Iterator[Observation]:
    """Inputs of 0 to 6 dimensions: those that no layer takes, and with torch's own those of another layer."""
    for rank, training in product(range(7), (True, False)):
        fits = rank in RANKS[dimensions]
        if not fits and rank in {2, 3, 4, 5} and implementation.named():
            continue  # it may take inputs of every layer: its arguments do not distinguish them
        layer: Any = randomize_state(subject.batch_norm(dimensions, CHANNELS)).train(training)
        before = {name: getattr(layer, name).clone() for name in STATISTICS}
        outcome = returned_or_refused(partial(layer, subject.randn(*(SIZES[:rank] if rank != 1 else (CHANNELS,)))))
        what = f"{rank}-dim/{'train' if training else 'eval'}"
        yield Observation(what, outcome, expected="returned" if fits else None if 2 <= rank <= 5 else "refused")
        if outcome == "refused":
            yield Observation(f"{what}/statistics", _kept(layer, before), expected="kept")


def _kept(layer: Any, before: dict[str, torch.Tensor]) -> str:
    import torch

    return "kept" if all(torch.equal(getattr(layer, name), old) for name, old in before.items()) else "changed"


def _dtypes(subject: Subject, *, dimensions: int) -> Iterator[Observation]:
    import torch

    names = ("int64", "int32", "uint8", "bool", "complex64", "float8_e4m3fn", "float64")
    for name, training in product(names, (True, False)):
        layer: Any = randomize_state(subject.batch_norm(dimensions, CHANNELS)).train(training)
        before = {name: getattr(layer, name).clone() for name in STATISTICS}
        x = subject.randn(*SHAPES[dimensions]).abs().to(getattr(torch, name))
        outcome = returned_or_refused(partial(layer, x))
        what = f"{name}/{'train' if training else 'eval'}"
        yield Observation(what, outcome, expected=None if name == "float64" else "refused")  # some devices mix
        if outcome == "refused":
            yield Observation(f"{what}/statistics", _kept(layer, before), expected="kept")


def _odd(subject: Subject, *, dimensions: int, name: str, value: float) -> Iterator[Observation]:
    """Tries a setting of little use: it is refused or not, and outputs and statistics are finite or not."""
    import torch

    for training in (True, False):
        mode = "train" if training else "eval"
        try:
            layer: Any = randomize_state(subject.batch_norm(dimensions, CHANNELS, **{name: value})).train(training)
            y = layer(subject.randn(*SHAPES[dimensions]))
        except Exception as error:  # noqa: BLE001  # which one differs by version
            gpu_errors.note(error)
            yield Observation(mode, type(error).__name__)
            continue
        tensors = {"y": y, **{one: getattr(layer, one) for one in STATISTICS}}
        for one, tensor in tensors.items():
            yield Observation(f"{mode}/{one}", "finite" if bool(torch.isfinite(tensor).all()) else "not finite")


def _even(subject: Subject, *, dimensions: int, name: str, value: float) -> Iterator[Observation]:
    """Compares a setting at the edge of its range with float64."""
    for training in (True, False):
        layer = randomize_state(subject.batch_norm(dimensions, CHANNELS, **{name: value})).train(training)
        x, dy = (subject.randn(*SHAPES[dimensions], seed=seed) for seed in (0, 1))
        prefix = f"{'train' if training else 'eval'}/"
        given: dict[str, Any] = {name: value}
        yield from step_against_float64(layer, x, dy, prefix=prefix, **given)


def _features(subject: Subject) -> Iterator[Observation]:
    odd: dict[str, Any] = {"negative": -1, "fraction": 2.5, "word": "a", "none": None, "zero": 0}
    for (name, value), dimensions in product(odd.items(), SHAPES):
        call = partial(subject.batch_norm, dimensions, value)
        yield Observation(
            f"{dimensions}d/{name}", returned_or_refused(call), expected=None if name == "zero" else "refused"
        )


SIGNED = (
    "native_batch_norm",
    "native_batch_norm_backward",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "batch_norm_update_stats",
    "batch_norm_stats",
    "batch_norm_elemt",
    "batch_norm_gather_stats_with_counts",
    "batch_norm_backward_reduce",
    "batch_norm_backward_elemt",
    "cudnn_batch_norm",
    "cudnn_batch_norm_backward",
    "batch_norm",
    "instance_norm",
)


def _signatures(_subject: Subject) -> Iterator[Observation]:
    """Checks the parameters of operators and layers, by name and in order."""
    import torch
    from torch import nn
    from torch.nn import functional

    for name in SIGNED:
        operator = getattr(torch.ops.aten, name, None)
        if operator is None:
            yield Observation(name, "absent")
            continue
        schema = operator.default._schema  # noqa: SLF001
        taken = ",".join(argument.name for argument in schema.arguments)
        yield Observation(name, f"{taken}->{len(schema.returns)}")
    for kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, functional.batch_norm):
        given = inspect.signature(kind).parameters.values()
        told = (one.name if one.default is one.empty else f"{one.name}={one.default}" for one in given)
        yield Observation(f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}", ",".join(told))


def _declared(subject: Subject) -> Iterator[Observation]:
    """Compares effects on arguments with the schema of operators, and results with those of fake tensors."""
    import torch

    x = subject.randn(*SIZES[:3])
    four = tuple(torch.full((CHANNELS,), float(one + 1), device=subject.device) for one in range(4))
    calls: dict[str, tuple[str, tuple[Any, ...]]] = {
        "batch_norm_update_stats": ("batch_norm_update_stats", (x, *four[2:], 0.1)),
        "_native_batch_norm_legit_no_training": ("_native_batch_norm_legit_no_training", (x, *four, 0.1, 1e-5)),
    }
    for name, training in product(("native_batch_norm", "_native_batch_norm_legit"), (True, False)):
        calls[f"{name}/{'train' if training else 'eval'}"] = (name, (x, *four, training, 0.1, 1e-5))
    for name, (operator, given) in calls.items():
        for part in ("test_schema", "test_faketensor"):
            found = torch.library.opcheck(
                getattr(torch.ops.aten, operator).default, given, test_utils=(part,), raise_exception=False
            )
            word = "as declared" if str(found[part]) == "SUCCESS" else "otherwise"
            yield Observation(f"{name}/{part.removeprefix('test_')}", word, expected="as declared")


def cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="validation")
    refused = "wrong arguments are refused, and never crash"
    yield case(name="apart/layers", observe=partial(_apart, kind="layers"), rule=refused, limit_s=300.0)
    yield case(
        name="apart/operators",
        observe=partial(_apart, kind="operators"),
        rule=refused,
        rows=("A40", "A41"),
        torch_only=True,
        limit_s=300.0,
    )
    for dimensions in SHAPES:
        where = f"batch_norm{dimensions}d"
        quick = dimensions == 2
        yield case(
            name=f"{where}/ranks",
            observe=partial(_ranks, dimensions=dimensions),
            rule=refused,
            rows=("A42",),
            quick=True,
        )
        yield case(name=f"{where}/dtypes", observe=partial(_dtypes, dimensions=dimensions), rule=refused, quick=quick)
        for name, value in product(("eps", "momentum"), VALUES):
            sensible = 0.0 < value < 1e31 if name == "eps" else 0.0 <= value <= 1.0
            yield case(
                name=f"{where}/{name}={value}",
                observe=partial(_even if sensible else _odd, dimensions=dimensions, name=name, value=value),
                rule="a setting is used as given" if sensible else "a meaningless setting is handled as accepted",
                rows=() if sensible else ("A43",),
                quick=quick and not sensible,
            )
    yield case(name="features", observe=_features, rule=refused, torch_only=True)
    yield case(
        name="signatures",
        observe=_signatures,
        rule="operators and layers have the accepted parameters",
        torch_only=True,
    )
    yield case(name="declared", observe=_declared, rule="operators behave as their schema says", torch_only=True)
