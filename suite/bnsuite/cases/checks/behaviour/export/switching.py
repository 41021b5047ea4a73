"""Programs that are switched between training and evaluation after export, and layers whose statistics are no buffers.

What is due comes from two-pass arithmetic with the layer's own eps and momentum, in the mode that was switched to. A
program may refuse to be switched, and then stays in the mode that it was exported in.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases import gpu_errors
from bnsuite.cases.checks.behaviour.export import exporters
from bnsuite.cases.checks.case import BehaviourCase, CheckNotApplicableError, Observation, Subject
from bnsuite.cases.checks.material.arithmetic import (
    LIMIT,
    LayerState,
    error_ratio,
    randomize_state,
    reference_step,
    state_of,
)
from bnsuite.cases.checks.material.layouts import lay
from bnsuite.cases.checks.material.outcomes import outcome_in_words, word_of
from bnsuite.cases.checks.material.states import BUFFERS, STATISTICS

if TYPE_CHECKING:
    import torch
    from torch import nn

#: Switches a program to training or evaluation; whatever it raises is its refusal.
Switch = Callable[[Any, bool], Any]
#: A layer is made with these, unless with torch's defaults.
OWN: dict[str, Any] = {"momentum": 0.3, "eps": 1e-2}
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "momentum=0.3+eps=0.01": OWN,
    "affine=off": {"affine": False, **OWN},
    "tracking=off": {"track_running_stats": False, **OWN},
}
WORDS = {"accepted": "done", "warned": "done"}


def by_method(program: Any, training: bool) -> None:
    """Switches by ``train()`` and ``eval()``, as any module is."""
    if training:
        program.train()
    else:
        program.eval()


def _moving(package: str) -> Any:
    """Returns the module of a package that has the functions to switch exported programs."""
    import importlib

    try:
        found: Any = importlib.import_module(package)
    except ImportError as error:
        raise CheckNotApplicableError(f"there is no {package} here: {error}") from error
    if not hasattr(found, "move_exported_model_to_eval"):
        raise CheckNotApplicableError(f"{package} has no move_exported_model_to_eval here")
    return found


def by_function(program: Any, training: bool, *, package: str) -> None:
    """Switches by the package's function, or raises CheckNotApplicableError where it has none."""
    found = _moving(package)
    if training:
        found.move_exported_model_to_train(program)
    else:
        found.move_exported_model_to_eval(program)


def by_allowed_method(program: Any, training: bool, *, package: str) -> None:
    """Switches by ``train()`` and ``eval()``, which the package's function has allowed."""
    _moving(package).allow_exported_model_train_eval(program)
    by_method(program, training)


def unflattened(layer: nn.Module, x: torch.Tensor) -> Any:
    """Returns the exported program with its modules restored."""
    import torch

    return torch.export.unflatten(torch.export.export(layer, (x,)))


def _run(program: Any, start: LayerState, x: torch.Tensor, prefix: str) -> Iterator[Observation | LayerState]:
    """Yields the errors of one pass of a program, and then the state that is due after it."""
    import torch

    seen: list[torch.Tensor] = []
    with torch.no_grad():
        outcome = outcome_in_words(lambda: seen.append(program(x)))
    yield Observation(f"{prefix}: run", WORDS.get(outcome.word, outcome.word), expected="done")
    exact, rounded = (reference_step(start, x, None, exact=one) for one in (True, False))
    if seen and exact.y is not None and rounded.y is not None:
        yield Observation(f"{prefix}: y", error_ratio(seen[0], exact.y, rounded.y), LIMIT)
    if not start.training or exact.running_mean is None:
        yield start
        return
    after: dict[str, Any] = {}
    for name in STATISTICS:
        right, near, found = (getattr(one, name, None) for one in (exact, rounded, program))
        after[name] = near
        if seen and found is not None and right is not None and near is not None:
            yield Observation(f"{prefix}: {name}", error_ratio(found, right, near), LIMIT)
    yield replace(start, **after, counted=start.counted + 1)


def switched(
    subject: Subject,
    *,
    way: exporters.Way,
    switch: Switch,
    shape: tuple[int, ...],
    options: dict[str, Any],
    training: bool,
) -> Iterator[Observation]:
    """Exports a layer, and switches it back and forth: outputs and statistics are those of the layer in each mode."""
    layer = randomize_state(subject.batch_norm(max(1, len(shape) - 2), shape[1], **options)).train(training)
    state = state_of(layer, eps=options.get("eps", 1e-5), momentum=options.get("momentum", 0.1))
    program = exporters.exported(way, layer, subject.randn(*shape))
    for number, mode in enumerate((not training, training, not training)):
        prefix = f"{number} {'train' if mode else 'eval'}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            word = _switched(switch, program, mode)
        yield Observation(prefix, word if word == "internal assertion" else FINE, expected=FINE)
        if word == "followed":
            state = replace(state, training=mode, by_batch=mode or state.running_mean is None)
        for one in _run(program, state, subject.randn(*shape, seed=number + 1), prefix):
            if isinstance(one, LayerState):
                state = one
            else:
                yield one


#: A switch is followed by outputs of the new mode, or refused by an error.
FINE = "followed or refused"


def _switched(switch: Switch, program: Any, mode: bool) -> str:
    try:
        switch(program, mode)
    except CheckNotApplicableError:
        raise
    except Exception as error:  # noqa: BLE001  # any refusal, but not of torch's own assertions
        gpu_errors.note(error)
        return word_of(error)
    return "followed"


def _as_buffers_of_no_state(layer: Any, name: str, value: torch.Tensor) -> None:
    layer.register_buffer(name, value, persistent=False)


def _as_attributes(layer: Any, name: str, value: torch.Tensor) -> None:
    setattr(layer, name, value)


def _as_parameters(layer: Any, name: str, value: torch.Tensor) -> None:
    from torch import nn

    if value.is_floating_point():
        layer.register_parameter(name, nn.Parameter(value, requires_grad=False))
    else:
        layer.register_buffer(name, value)


#: Where a layer's statistics may be, other than in buffers of its state.
PLACES: dict[str, Callable[[Any, str, Any], None]] = {
    "not-persistent": _as_buffers_of_no_state,
    "attributes": _as_attributes,
    "parameters": _as_parameters,
}


def _placed(
    subject: Subject, *, way: exporters.Way, place: str, shape: tuple[int, ...], training: bool, dtype: str = "float32"
) -> Iterator[Observation]:
    """Exports a layer whose statistics are no buffers of its state: right, or refused, on inputs of several layouts."""
    import torch

    layer: Any = randomize_state(subject.batch_norm(max(1, len(shape) - 2), shape[1], **OWN)).train(training)
    layer = layer.to(getattr(torch, dtype))
    state = state_of(layer, **OWN)
    for name in BUFFERS:
        value = getattr(layer, name)
        delattr(layer, name)
        PLACES[place](layer, name, value)
    made: list[Any] = []
    outcome = outcome_in_words(lambda: made.append(exporters.exported(way, layer, subject.randn(*shape, dtype=dtype))))
    word = outcome.word if outcome.word == "internal assertion" else "exported or refused"
    yield Observation("outcome", word, expected="exported or refused")
    if made and way is exporters.trace:  # which has run the layer once
        kept = {name: found for name in STATISTICS if (found := getattr(made[0], name, None)) is not None}
        state = replace(state, **{name: one.detach().clone() for name, one in kept.items()})
    layouts = ("contiguous", "reversed", "channels-last" if len(shape) > 3 else "sliced")
    for number, (layout, program) in enumerate(zip(layouts, made * 3, strict=False)):
        x = lay(subject.randn(*shape, seed=number + 1, dtype=dtype), layout)
        for one in _run(program, state, x, f"pass {number}"):
            if isinstance(one, LayerState):
                state = one
            else:
                yield one


PLACED_WAYS: dict[str, exporters.Way] = {
    **{name: exporters.WAYS[name] for name in ("script", "trace", "export", "export-saved", "export-decomposed")},
    "unflattened": unflattened,
}
#: The packages that have functions to switch programs: torchao, and torch itself in releases that still have them.
PACKAGES = {"torchao": "torchao.quantization.pt2e", "torch.ao": "torch.ao.quantization"}
SWITCHES: dict[str, Callable[..., None]] = {"function": by_function, "allowed": by_allowed_method}
RULE = "a program switched after export computes as the layer in that mode with its eps and momentum, or refuses"


def cases() -> Iterator[BehaviourCase]:
    case: Callable[..., BehaviourCase] = partial(BehaviourCase, group="export", limit_s=120.0)
    for name, way in {"export": exporters.export, "unflattened": unflattened}.items():
        for training, (shape, option) in product((True, False), SETTINGS):
            yield case(
                name=f"{name}/switched/{_mode(training)}/{shape}/{option}",
                observe=partial(
                    switched,
                    way=way,
                    switch=by_method,
                    shape=exporters.SHAPES[shape],
                    options=OPTIONS[option],
                    training=training,
                ),
                rule=RULE,
                rows=("S06",),
                torch_only=way is unflattened,
            )
    for package, where in PACKAGES.items():
        for how, training, shape, option in MOVED:
            yield case(
                name=f"{package}/switched/{how}/{_mode(training)}/{shape}/{option}",
                observe=partial(
                    switched,
                    way=exporters.export,
                    switch=partial(SWITCHES[how], package=where),
                    shape=exporters.SHAPES[shape],
                    options=OPTIONS[option],
                    training=training,
                ),
                rule=RULE,
                rows=("S05",) if "eps" in option else (),
                torch_only=True,
                needs=("torchao",) if package == "torchao" else (),
            )
    for place, name, shape, dtype, training in _placings():
        plain = (shape, dtype) == ("2d", "float32")
        yield case(
            name=f"{name}/statistics/{place}/{_mode(training)}{'' if plain else f'/{shape}/{dtype}'}",
            observe=partial(
                _placed,
                way=PLACED_WAYS[name],
                place=place,
                shape=exporters.SHAPES[shape],
                training=training,
                dtype=dtype,
            ),
            rule="a layer whose statistics are no buffers of its state is exported right, or refused",
            quick=plain and name == "script" and place == "not-persistent",
        )


def _placings() -> Iterator[tuple[str, str, str, str, bool]]:
    """Yields where statistics are, the exporter, the shape, the precision, and the mode."""
    yield from product(PLACES, PLACED_WAYS, ("2d",), ("float32",), (True, False))
    yield from product(
        ("not-persistent", "attributes"), ("export",), ("1d-nc", "1d", "3d"), ("float32",), (True, False)
    )
    yield from product(("not-persistent", "attributes"), ("export",), ("2d",), ("float64", "bfloat16"), (True, False))


SETTINGS = (
    ("2d", "default"),
    ("2d", "momentum=0.3+eps=0.01"),
    ("2d", "tracking=off"),
    ("1d-nc", "affine=off"),
    ("3d", "momentum=0.3+eps=0.01"),
)


#: How programs are switched by a package's functions, which export their patterns anew each time.
MOVED = (
    ("function", True, "2d", "default"),
    ("function", True, "2d", "momentum=0.3+eps=0.01"),
    ("function", False, "3d", "momentum=0.3+eps=0.01"),
    ("function", True, "2d", "tracking=off"),
    ("function", False, "1d-nc", "affine=off"),
    ("allowed", True, "2d", "momentum=0.3+eps=0.01"),
)


def _mode(training: bool) -> str:
    return "train" if training else "eval"
