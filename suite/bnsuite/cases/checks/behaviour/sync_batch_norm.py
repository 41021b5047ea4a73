"""Family ``sync-batch-norm``: a layer that synchronises across ranks is batch norm of all shards together.

That layer is torch's SyncBatchNorm, or the implementation if it synchronises.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from bnsuite.cases import implementation
from bnsuite.cases.checks.case import BehaviourCase, CheckNotApplicableError, Observation, Subject
from bnsuite.cases.checks.material import networks
from bnsuite.cases.checks.material.arithmetic import (
    LayerState,
    StepResult,
    compare,
    layer_step,
    randomize_state,
    reference_step,
    state_of,
)
from bnsuite.cases.checks.two_ranks import LIMIT_S, ask, programs, same_on_both

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Shards:
    """The inputs of two ranks for a layer that synchronises, (N, C, ...) each."""

    shapes: tuple[tuple[int, ...], tuple[int, ...]] = ((4, 6, 5, 4), (4, 6, 5, 4))
    options: dict[str, Any] = field(default_factory=dict)
    #: Layouts of the input and of the incoming gradient.
    layouts: tuple[str, str] = ("contiguous", "contiguous")
    dtype: str = "float32"
    autocast: bool = False
    input_grad: bool = True
    steps: int = 1
    rows: tuple[str, ...] = ()


def _fields(shards: Shards) -> dict[str, Any]:
    """The arguments of the program."""
    return {one.name: getattr(shards, one.name) for one in fields(shards) if one.name != "rows"}


def _shards() -> Iterator[tuple[str, Shards]]:
    """Shards by name."""
    yield from _by_size()
    yield from _by_layout()
    yield from _by_option()


def _by_size() -> Iterator[tuple[str, Shards]]:
    for sizes in ((4, 4), (2, 5), (1, 7), (1, 1)):
        for spatial in ((), (9,), (5, 4), (3, 4, 2)):
            if sizes == (1, 1) and not spatial:
                continue
            name = f"n={sizes[0]}+{sizes[1]}/{len(spatial) + 2}-dim"
            shapes = ((sizes[0], 6, *spatial), (sizes[1], 6, *spatial))
            yield name, Shards(shapes, rows=("N15", "N17") if sizes[0] != sizes[1] else ())
    for sizes in ((0, 5), (5, 0)):
        shapes = ((sizes[0], 6, 5, 4), (sizes[1], 6, 5, 4))
        yield f"n={sizes[0]}+{sizes[1]}/4-dim", Shards(shapes, rows=("N18",))
    for one, other in (((15, 20), (20, 25)), ((1, 1), (7, 9)), ((2, 3), (16, 16))):
        shapes = ((3, 6, *one), (3, 6, *other))
        yield f"hw={one[0]}x{one[1]}+{other[0]}x{other[1]}", Shards(shapes, rows=("N16", "N17"))


def _by_layout() -> Iterator[tuple[str, Shards]]:
    for x in ("contiguous", "channels-last", "sliced"):
        for dy in ("contiguous", "channels-last", "sliced"):
            for channels in (6, 65):
                shape = (4, channels, 5, 4)
                rows = ("N04",) if x != dy and "channels-last" in (x, dy) else ()
                yield f"x={x}/dy={dy}/c={channels}", Shards((shape, shape), layouts=(x, dy), rows=rows)
    for channels in (1, 63, 64, 65, 96, 200):
        shape = (3, channels, 5, 4)
        both = ("channels-last", "channels-last")
        yield f"channels-last/c={channels}", Shards((shape, shape), layouts=both, rows=("N05",) * (channels > 64))


def _by_option() -> Iterator[tuple[str, Shards]]:
    for affine in (True, False):
        for tracked in (True, False):
            for momentum in (0.3, None):
                options = {"affine": affine, "track_running_stats": tracked, "momentum": momentum}
                flagged: tuple[str, ...] = ("A09",) * (not affine) + ("A10",) * (not tracked)
                name = f"affine={_on(affine)}/tracking={_on(tracked)}/momentum={momentum}".lower()
                yield name, Shards(((2, 6, 5, 4), (5, 6, 5, 4)), options=options, steps=3, rows=flagged)
    for dtype in ("float64", "float16", "bfloat16"):
        yield f"dtype={dtype}", Shards(dtype=dtype, rows=("A12",) * (dtype != "float64"))
        yield f"autocast/dtype={dtype}", Shards(dtype=dtype, autocast=True, rows=("A12",) * (dtype != "float64"))
    yield "input-frozen", Shards(((2, 6, 5, 4), (5, 6, 5, 4)), input_grad=False)


def _on(flag: bool) -> str:
    return "on" if flag else "off"


def _flat(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Returns the values of all shards as (values, C), since their places don't matter for the statistics."""
    import torch

    return torch.cat([one.movedim(1, -1).flatten(0, -2) for one in tensors])


def _synchronised(subject: Subject, *, shards: Shards) -> Iterator[Observation]:
    outcome = ask(subject, "synchronised", **_fields(shards))
    yield Observation("outcome", outcome.word, expected="done")
    if outcome.word != "done":
        return
    here = Subject("cpu")
    made = [programs.shard(here, list(shape), rank, shards.dtype) for rank, shape in enumerate(shards.shapes)]
    x, dy = (_flat([pair[number] for pair in made]) for number in (0, 1))
    layer = randomize_state(implementation.torchs_own(1, x.shape[1], **shards.options))
    if shards.dtype == "float64":
        layer.double()
    momentum = shards.options.get("momentum", 0.1)
    sides = []
    for exact in (True, False):
        start = state_of(layer, momentum=momentum)
        for number in range(shards.steps):
            seen = reference_step(replace(start, counted=number), x, dy, exact=exact)
            start = replace(start, running_mean=seen.running_mean, running_var=seen.running_var)
        sides.append(seen)
    answers = outcome.answers
    _refuse_apart(answers[0]["y"], state_of(layer), made[0], sides[0])

    def total(name: str) -> torch.Tensor | None:
        given = [answer[name] for answer in answers if answer.get(name) is not None]
        return sum(one.double() for one in given).to(given[0].dtype) if given else None

    seen = StepResult(
        y=_flat([answer["y"] for answer in answers]).to(x.dtype),
        dx=_flat(_input_gradients(answers)) if shards.input_grad else sides[0].dx,
        dweight=total("dweight"),
        dbias=total("dbias"),
        running_mean=answers[0].get("running_mean"),
        running_var=answers[0].get("running_var"),
    )
    yield from compare(seen, *sides)
    statistics = [name for name in ("running_mean", "running_var", "num_batches_tracked") if name in answers[0]]
    yield Observation("statistics across ranks", same_on_both(answers, statistics), expected="equal")
    counted = answers[0].get("num_batches_tracked")
    if counted is not None:
        yield Observation("num_batches_tracked", str(int(counted)), expected=str(shards.steps))


def _input_gradients(answers: tuple[dict[str, Any], ...]) -> list[torch.Tensor]:
    """Returns the gradient of each rank's shard; torch gives none to an empty one, which has none to be wrong."""
    given = [answer["dx"] for answer in answers]
    return [
        answer["y"] if dx is None and not answer["y"].numel() else dx for answer, dx in zip(answers, given, strict=True)
    ]


def _refuse_apart(
    seen: torch.Tensor, start: LayerState, made: tuple[torch.Tensor, torch.Tensor], all_: StepResult
) -> None:
    """Raises CheckNotApplicableError if each rank of the implementation takes its own statistics."""
    if not implementation.named() or not seen.numel():
        return
    y = _flat([seen]).double()
    assert all_.y is not None
    by_itself = reference_step(replace(start, training=False), _flat([made[0]]), None, exact=True).y
    assert by_itself is not None
    apart, together = ((y - truth).abs().max().item() for truth in (by_itself, all_.y[: len(y)]))
    if apart < 0.1 * together:
        raise CheckNotApplicableError("the implementation does not synchronise across ranks")


def _penalty(subject: Subject) -> Iterator[Observation]:
    """Checks that a gradient penalty, which torch does not support, is refused."""
    yield Observation("outcome", ask(subject, "penalty", shapes=[[4, 6, 5, 4]] * 2).word)


def _peak(subject: Subject, *, last: bool) -> Iterator[Observation]:
    outcome = ask(subject, "peak", shape=[8, 64, 32, 32], last=last)
    yield Observation("outcome", outcome.word, expected="done")
    for rank, answer in enumerate(outcome.answers if outcome.word == "done" else ()):
        yield Observation(f"rank {rank}: peak/batch_norm2d", answer["synchronised"] / answer["plain"], 1.1)


def _alone(subject: Subject, *, options: dict[str, Any], convert: bool, dimensions: int) -> Iterator[Observation]:
    """Evaluates on rank 0, while the other does nothing."""
    outcome = ask(subject, "alone", options=options, convert=convert, dimensions=dimensions)
    yield Observation("outcome", outcome.word, expected="done")
    if outcome.word != "done":
        return
    here = Subject("cpu")
    channels = networks.WIDTHS[1]
    plain = randomize_state(implementation.torchs_own(dimensions, channels, **options)).eval()
    x = here.randn(4, channels, *networks.SPATIAL[dimensions])
    start = state_of(plain)
    answer = outcome.answers[0]
    names = ("running_mean", "running_var")
    seen = replace(layer_step(plain, x, None), y=answer["y"], **{name: answer.get(name) for name in names})
    yield from compare(seen, *(reference_step(start, x, None, exact=exact) for exact in (True, False)))


def _refused(subject: Subject) -> Iterator[Observation]:
    """Checks that training on a CPU raises."""
    if subject.device != "cpu":
        raise CheckNotApplicableError("the device is no CPU")
    outcome = ask(subject, "synchronised", **_fields(Shards()))
    yield Observation("outcome", outcome.word)


def cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="sync-batch-norm", limit_s=LIMIT_S)
    # torch's own SyncBatchNorm trains on GPUs only.
    training = partial(case, gpu_only=implementation.named() is None)
    for name, shards in _shards():
        yield training(
            name=f"step/{name}",
            observe=partial(_synchronised, shards=shards),
            rule="a layer that synchronises computes batch norm of all shards together",
            rows=shards.rows,
        )
    for convert in (False, True):
        for tracked in (True, False):
            for dimensions in (1, 2, 3):
                how = "converted" if convert else "made"
                yield case(
                    name=f"alone/{how}/{dimensions}d/tracking={_on(tracked)}",
                    observe=partial(
                        _alone, options={"track_running_stats": tracked}, convert=convert, dimensions=dimensions
                    ),
                    rule="a rank that evaluates does not wait for the others",
                    rows=("A07",) if convert else ("A11",) * (not tracked),
                    torch_only=convert,
                )
    yield training(
        name="gradient-penalty",
        observe=_penalty,
        rule="a gradient penalty ends with the accepted error",
        rows=("A13",),
    )
    for last in (False, True):
        yield training(
            name=f"peak/{'channels-last' if last else 'contiguous'}",
            observe=partial(_peak, last=last),
            rule="synchronising takes no notable memory",
            rows=("M12",),
        )
    yield case(name="on-a-cpu", observe=_refused, rule="training on a CPU ends as accepted", torch_only=True)
