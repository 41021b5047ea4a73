"""Family ``channel-counts``: what a norm does with another number of channels, or of dimensions, than it is made for.

The word that is due comes from the documentation: `num_features` and `num_channels` are the channels of the input,
`normalized_shape` is its trailing shape. Instance norm alone is documented to warn, where neither a parameter nor a
statistic has that number of values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import BehaviourCase, Observation, Subject
from bnsuite.cases.checks.material.layouts import channels_last
from bnsuite.cases.checks.material.other_norms import BATCH, GROUP, INSTANCE, LAYER, RMS, instance_norm
from bnsuite.cases.checks.material.outcomes import Outcome, outcome_in_words
from bnsuite.cases.checks.material.states import STATISTICS

if TYPE_CHECKING:
    import torch
    from torch import nn

#: A norm's number of channels, and those of inputs: none, one, numbers that the groups divide, and others, both fewer
#: and more than the norm's. No other size of these inputs is one of these numbers.
COUNTS = ((12, 0), (12, 1), (12, 8), (12, 13), (12, 24), (2, 0), (2, 1), (2, 6), (2, 13), (1, 0), (1, 6))
GROUPS = 2
#: Sizes of an input beyond its samples and channels, by the norm's dimensions.
EXTENTS: dict[str, tuple[int, ...]] = {"1d-nc": (), "1d": (3,), "2d": (3, 5), "3d": (3, 5, 3)}
SAMPLES = 4
DTYPES = ("float32", "bfloat16", "float64")
#: Dimensions that an input may have, as the documentation says; with one fewer it is a single sample.
RANKS = {"1d": (2, 3), "2d": (3, 4), "3d": (4, 5)}


def _made(subject: Subject, kind: str, dimensions: str, channels: int, **arguments: Any) -> nn.Module:
    """Returns a norm of so many channels: for layer and RMS norm the last dimension of its input."""
    from torch import nn

    if kind == BATCH:
        return subject.batch_norm(int(dimensions[0]), channels, **arguments)
    if kind == INSTANCE:
        layer: nn.Module = instance_norm(int(dimensions[0]), channels, **arguments)
    elif kind == GROUP:
        layer = nn.GroupNorm(GROUPS, channels, **arguments)
    else:
        arguments = {"elementwise_affine": arguments["affine"]}
        layer = nn.LayerNorm(channels, **arguments) if kind == LAYER else nn.RMSNorm(channels, **arguments)
    return layer.to(subject.device)


def _inputs(subject: Subject, kind: str, dimensions: str, channels: int) -> Iterator[torch.Tensor]:
    """Yields inputs of so many channels in every precision and layout, and a single sample where one is taken."""
    extents = EXTENTS[dimensions]
    shape = (SAMPLES, *extents, channels) if kind in {LAYER, RMS} else (SAMPLES, channels, *extents)
    for dtype in DTYPES:
        x = subject.randn(*shape, dtype=dtype)
        yield x
        if len(shape) > 3 and kind not in {LAYER, RMS}:
            yield channels_last(x)
        if kind == INSTANCE:
            yield x[0]


def _joined(outcomes: list[Outcome]) -> str:
    """Returns the one word of all `outcomes`, or each of them once."""
    return ", ".join(sorted({one.word for one in outcomes}))


def _reported(what: str, outcomes: list[Outcome], due: str, channels: int) -> Iterator[Observation]:
    yield Observation(what, _joined(outcomes), expected=due)
    refused = [one for one in outcomes if one.word == "refused"]
    if refused:
        named = all(one.names(channels) for one in refused)
        yield Observation(f"{what}/error", "names" if named else "does not name", expected="names")
        warned = any(one.warnings for one in refused)  # one that says the call is fine, before it fails
        yield Observation(f"{what}/before the error", "warned" if warned else "nothing", expected="nothing")


def _counts(kind: str) -> list[tuple[int, int]]:
    """Returns the numbers of `COUNTS` with which a norm of this kind can be made."""
    return [(features, channels) for features, channels in COUNTS if kind != GROUP or features % GROUPS == 0]


def _layers(
    subject: Subject, *, kind: str, dimensions: str, arguments: Mapping[str, bool], training: bool
) -> Iterator[Observation]:
    """A layer on inputs of other numbers of channels: the outcome, the number in the error, and its statistics."""
    free = kind == INSTANCE and not any(arguments.values())
    for features, channels in _counts(kind):
        outcomes, kept = [], True
        for x in _inputs(subject, kind, dimensions, channels):
            layer = _made(subject, kind, dimensions, features, **arguments).train(training).to(x.dtype)
            before = {name: getattr(layer, name, None) for name in STATISTICS}
            copies = {name: one.clone() for name, one in before.items() if one is not None}
            outcomes.append(outcome_in_words(partial(layer, x)))
            kept &= all(bool((getattr(layer, name) == one).all()) for name, one in copies.items())
        what = f"{features}-for-{channels}"
        yield from _reported(what, outcomes, "warned" if free else "refused", channels)
        if arguments.get("track_running_stats"):
            yield Observation(f"{what}/statistics", "kept" if kept else "changed", expected="kept")


def _fitting(subject: Subject, *, kind: str, dimensions: str) -> Iterator[Observation]:
    """The same layers on inputs that fit: accepted without a word, so that a refusal above says something."""
    for affine, tracked, training in product((True, False), repeat=3):
        arguments = _arguments(kind, affine=affine, tracked=tracked)
        for features in (12, 2):
            layer = _made(subject, kind, dimensions, features, **arguments).train(training)
            outcomes = [
                outcome_in_words(partial(layer.to(x.dtype), x)) for x in _inputs(subject, kind, dimensions, features)
            ]
            what = f"affine={_on(affine)}/tracking={_on(tracked)}/{'train' if training else 'eval'}/{features}"
            yield Observation(what, _joined(outcomes), expected="accepted")


#: The tensors of each function that have a value for each channel; those joined by "+" are of a wrong length together.
TENSORS: dict[str, tuple[str, ...]] = {
    BATCH: ("weight", "bias", "weight+bias", "running_mean", "running_var", "running_mean+running_var"),
    INSTANCE: ("weight", "bias", "weight+bias", "running_mean", "running_var", "running_mean+running_var"),
    GROUP: ("weight", "bias", "weight+bias"),
    LAYER: ("normalized_shape", "weight", "bias", "weight+bias"),
    RMS: ("normalized_shape", "weight"),
}
#: The functions that have a mode, and those that have none.
MODES = {BATCH: (True, False), INSTANCE: (True, False)}


def _called(subject: Subject, kind: str, channels: int, wrong: Mapping[str, int], mode: bool | None) -> Any:
    """Calls the function of a kind on an input of so many channels, with tensors of another length where named."""
    import torch
    from torch.nn import functional

    names = [name for name in dict.fromkeys("+".join(TENSORS[kind]).split("+")) if name != "normalized_shape"]
    given: dict[str, Any] = {
        name: torch.ones(wrong.get(name, channels), device=subject.device)
        for name in names
        if not (name in {"weight", "bias"} and "normalized_shape" in wrong)
    }
    if kind in {LAYER, RMS}:
        x = subject.randn(SAMPLES, 3, channels)
        function: Callable[..., Any] = functional.layer_norm if kind == LAYER else functional.rms_norm
        return function(x, (wrong.get("normalized_shape", channels),), **given)
    x = subject.randn(SAMPLES, channels, 3)
    if kind == BATCH:
        return functional.batch_norm(x, training=bool(mode), **given)
    if kind == INSTANCE:
        return functional.instance_norm(x, use_input_stats=bool(mode), **given)
    return functional.group_norm(x, GROUPS, **given)


def _functions(subject: Subject, *, kind: str, mode: bool | None) -> Iterator[Observation]:
    """Each function with tensors of a wrong length."""
    for (length, channels), tensors in product(_counts(kind), TENSORS[kind]):
        wrong = dict.fromkeys(tensors.split("+"), length)
        outcome = outcome_in_words(partial(_called, subject, kind, channels, wrong, mode))
        yield from _reported(f"{tensors}/{length}-for-{channels}", [outcome], "refused", channels)


def _ranks(subject: Subject, *, kind: str, dimensions: str) -> Iterator[Observation]:
    """Inputs of 1 to 6 dimensions, on layers that are not batch norm's (for those see ``validation``)."""
    due: dict[int, str | None]
    if kind == INSTANCE:
        due = {rank: "accepted" if rank in RANKS[dimensions] else "refused" for rank in range(1, 7)}
    elif kind == GROUP:
        due = {1: "refused", **dict.fromkeys(range(2, 7), "accepted")}
    else:
        due = {1: "refused", **dict.fromkeys(range(3, 7), "accepted")}  # of two, it may be one without samples
    for rank, word in due.items():
        shape: tuple[int, ...]
        if kind in {LAYER, RMS}:
            shape = (*(SAMPLES, 5, 3, 5, 3)[: rank - 2], 3, 12) if rank > 1 else (12,)
        else:
            single = kind == INSTANCE and rank == min(RANKS[dimensions])
            rest = (12, 3, 5, 3, 5, 3)
            shape = rest[:rank] if single or rank == 1 else (SAMPLES, *rest)[:rank]
        layer: Any = _made(subject, kind, dimensions, 12, affine=True)
        if kind in {LAYER, RMS}:
            layer = type(layer)((3, 12)).to(subject.device)
        outcome = outcome_in_words(partial(layer, subject.randn(*shape)))
        yield Observation(f"{rank}-dim", outcome.word, expected=word)
        if word == "refused" == outcome.word:
            numbers = (rank, 12) if kind in {LAYER, RMS} else (rank,)
            named = any(map(outcome.names, numbers))
            yield Observation(f"{rank}-dim/error", "names" if named else "does not name", expected="names")


def _arguments(kind: str, *, affine: bool, tracked: bool) -> dict[str, bool]:
    return {"affine": affine, **({"track_running_stats": tracked} if kind in {BATCH, INSTANCE} else {})}


def _on(flag: bool) -> str:
    return "on" if flag else "off"


REFUSED = "an input of another number of channels is refused with that number in the error, or as documented"


def _of_layers(case: Callable[..., BehaviourCase]) -> Iterator[BehaviourCase]:
    for kind, dimensions in product((BATCH, INSTANCE, GROUP, LAYER, RMS), EXTENTS):
        if dimensions == "1d-nc" and kind == INSTANCE:
            continue
        where = f"{kind}{dimensions.replace('-', '/')}" if kind == BATCH else f"{kind}/{dimensions}"
        own = kind == BATCH
        yield case(
            name=f"{where}/fitting",
            observe=partial(_fitting, kind=kind, dimensions=dimensions),
            rule="an input of the right number of channels is accepted without a warning",
            torch_only=not own,
        )
        stateful = kind in {BATCH, INSTANCE}
        table = product((True, False), (True, False) if stateful else (False,), (True, False) if stateful else (True,))
        for affine, tracked, training in table:
            mode = f"/tracking={_on(tracked)}/{'train' if training else 'eval'}" if stateful else ""
            yield case(
                name=f"{where}/affine={_on(affine)}{mode}",
                observe=partial(
                    _layers,
                    kind=kind,
                    dimensions=dimensions,
                    arguments=_arguments(kind, affine=affine, tracked=tracked),
                    training=training,
                ),
                rule=REFUSED,
                rows=("N55",) if own else ("S01",) if kind == INSTANCE and not affine else (),
                torch_only=not own,
                quick=stateful and dimensions == "2d" and training,
            )


def cases() -> Iterator[BehaviourCase]:
    case: Callable[..., BehaviourCase] = partial(BehaviourCase, group="channel-counts")
    yield from _of_layers(case)
    for kind in TENSORS:
        for mode in MODES.get(kind, (None,)):
            word = "" if mode is None else "/train" if mode else "/eval"
            yield case(
                name=f"functional/{kind}{word}",
                observe=partial(_functions, kind=kind, mode=mode),
                rule="a tensor of another length than the input's channels is refused, with that number in the error",
                rows=("S02",) if kind == INSTANCE else (),
                torch_only=True,
            )
    for kind, dimensions in (*((INSTANCE, one) for one in RANKS), (GROUP, "2d"), (LAYER, "2d"), (RMS, "2d")):
        yield case(
            name=f"{kind}/{dimensions}/dims" if kind == INSTANCE else f"{kind}/dims",
            observe=partial(_ranks, kind=kind, dimensions=dimensions),
            rule="an input of another number of dimensions than documented is refused, and the error says which",
            torch_only=True,
        )
