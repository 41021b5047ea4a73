"""Family ``strides``: inputs and incoming gradients in every memory layout, each by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import permutations, product
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import NumericsCase, Observation, Observe, Subject
from bnsuite.cases.checks.material import other_norms
from bnsuite.cases.checks.material.arithmetic import (
    LIMIT,
    compare,
    layer_step,
    randomize_state,
    reference_step,
    state_of,
    step_against_float64,
)
from bnsuite.cases.checks.material.layouts import ordered, strided
from bnsuite.cases.checks.material.outcomes import each_backend

if TYPE_CHECKING:
    from torch import nn

RULE = "neither the layout of the input nor that of the incoming gradient changes a result"
LAYOUTS = ("contiguous", "channels-last", "permuted", "sliced")
#: Layouts of incoming gradients, beyond `LAYOUTS`: the same number at every place of a channel, sample or tensor.
EXPANDED = ("expanded-places", "expanded-samples", "expanded")
#: Layouts of inputs alone: a storage that starts elsewhere, that is stepped through, or that samples share.
OTHERS = ("offset", "stepped", "expanded-samples")
#: Rows of the list by the layout of the input.
ROWS: dict[str, tuple[str, ...]] = {
    "contiguous": ("N08", "N11"),
    "channels-last": ("N08", "N11"),
    "permuted": ("N01", "N11"),
    "sliced": ("N11", "N12"),
    "offset": ("N12",),
    "stepped": ("N12",),
    "expanded-samples": (),
}
RANKS: dict[int, tuple[int, ...]] = {1: (6, 65, 7), 2: (4, 65, 5, 6), 3: (3, 65, 2, 3, 4)}
#: Shapes that are tried with every order of dimensions in memory.
ORDERED: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((3, 5, 4), (1, 5, 4), (3, 5, 1)),
    2: ((3, 5, 4, 2), (1, 5, 4, 2), (3, 1, 4, 2), (3, 5, 1, 4), (3, 5, 4, 1), (6, 5, 1, 1), (1, 5, 1, 8)),
    3: ((2, 5, 2, 3, 2), (1, 5, 2, 3, 2), (2, 5, 1, 3, 2)),
}
#: Sizes at which vectors, warps and strides of 1 change the path: (N, C, H, W).
EDGES: dict[str, tuple[int, ...]] = {
    **{f"c={channels}": (4, channels, 5, 6) for channels in (1, 63, 64, 65, 96, 200)},
    "hw=1": (9, 65, 1, 1),
    "h=1": (4, 65, 1, 9),
    "w=1": (4, 65, 9, 1),
    "n=1": (1, 65, 5, 6),
    "n=1/c=1": (1, 1, 5, 6),
    "c=1/hw=1": (30, 1, 1, 1),
    "hw=64": (2, 5, 8, 8),
    "hw=1023": (2, 3, 31, 33),
}


def _step(subject: Subject, *, shape: tuple[int, ...], x: str, dy: str, training: bool) -> Iterator[Observation]:
    layer = randomize_state(subject.batch_norm(len(shape) - 2, shape[1])).train(training)
    yield from step_against_float64(
        layer, strided(subject.randn(*shape), x), strided(subject.randn(*shape, seed=1), dy)
    )


def _half(subject: Subject, *, dtype: str, x: str, dy: str, training: bool) -> Iterator[Observation]:
    shape = (2, 64, 10, 10)
    layer = randomize_state(subject.batch_norm(2, 64)).train(training)
    yield from step_against_float64(
        layer, strided(subject.randn(*shape, dtype=dtype), x), strided(subject.randn(*shape, seed=1, dtype=dtype), dy)
    )


def _orders(subject: Subject, *, shape: tuple[int, ...], training: bool, stored: bool) -> Iterator[Observation]:
    """Every order of dimensions in memory, of the input, beside gradients that are contiguous and the other way round.

    Where what is stored is left at its defaults, an output in evaluation is the input itself. Dimensions of size 1
    have strides that say nothing, and fit several layouts at once.
    """
    values, given = subject.randn(*shape), subject.randn(*shape, seed=1)

    def made() -> nn.Module:
        layer = subject.batch_norm(len(shape) - 2, shape[1])
        return (randomize_state(layer) if stored else layer).train(training)

    start = state_of(made())
    exact, rounded = (reference_step(start, values, given, exact=one) for one in (True, False))
    orders = list(permutations(range(len(shape))))
    for order in orders[:: 5 if len(orders) > 24 else 1]:
        for name, dy in (("contiguous", given), ("reversed", ordered(given, order[::-1]))):
            seen = layer_step(made(), ordered(values, order), dy)
            worst = max(float(one.value) for one in compare(seen, exact, rounded))
            yield Observation(f"{''.join(map(str, order))}/dy={name}", worst, LIMIT)


def _format(subject: Subject, *, kind: str, dimensions: int) -> Iterator[Observation]:
    """Checks that outputs and gradients have the layout of the input.

    Channels-last is documented; any other layout is compared with the accepted one. The gradient is taken as the layer
    gives it: in ``.grad`` it would have been copied into the layout of the input.
    """
    import torch

    promised = {2: torch.channels_last, 3: torch.channels_last_3d}.get(dimensions)
    shape = (4, 6, *(5, 4, 3)[:dimensions])
    for training, x, dy in product((True, False), LAYOUTS, ("contiguous", "channels-last")):
        if kind == "batch_norm":
            layer: Any = randomize_state(subject.batch_norm(dimensions, 6)).train(training)
        else:
            layer = other_norms.make(subject, kind, shape).train(training)
        given = strided(subject.randn(*shape), x)
        leaf = given.detach().requires_grad_()
        y = layer(leaf)
        (dx,) = torch.autograd.grad(y, leaf, strided(subject.randn(*shape, seed=1), dy))
        for part, one in (("y", y), ("dx", dx)):
            word = "the input's" if one.stride() == given.stride() else "contiguous" if one.is_contiguous() else "other"
            what = f"{'train' if training else 'eval'}/x={x}/dy={dy}/{part}"
            is_promised = x == "contiguous" or (x == "channels-last" and promised is not None)
            yield Observation(what, word, expected="the input's" if is_promised and x != "sliced" else None)


def _same_as_clone(subject: Subject, *, dimensions: int, training: bool) -> Iterator[Observation]:
    """Parts of a larger tensor, beside copies of them."""
    import torch

    big = subject.randn(7, 40, *(9, 8, 5)[:dimensions])
    parts = {"samples": big[2:], "channels": big[:, 3:20], "last place": big[..., 1:], "steps": big[::2, ::3]}
    for name, part in parts.items():
        states = []
        for x in (part, part.clone(memory_format=torch.contiguous_format)):
            layer = randomize_state(subject.batch_norm(dimensions, part.shape[1])).train(training)
            states.append(layer_step(layer, x, subject.randn(*part.shape, seed=1)))
        start = state_of(randomize_state(subject.batch_norm(dimensions, part.shape[1])).train(training))
        dy = subject.randn(*part.shape, seed=1)
        exact, rounded = (reference_step(start, part, dy, exact=one) for one in (True, False))
        for which, seen in zip(("itself", "copied"), states, strict=True):
            worst = max(float(one.value) for one in compare(seen, exact, rounded))
            yield Observation(f"{name} {which}", worst, LIMIT)


def _other_norm(subject: Subject, *, kind: str, shape: tuple[int, ...], x: str, dy: str) -> Iterator[Observation]:
    layer = other_norms.make(subject, kind, shape)
    yield from other_norms.step_against_float64(
        kind, layer, strided(subject.randn(*shape), x), strided(subject.randn(*shape, seed=1), dy)
    )


def _many(subject: Subject, *, x: str, dy: str) -> Iterator[Observation]:
    """A group norm of many places, over which the gradient of a weight is summed."""
    shape = (8, 64, 32, 32)
    layer = other_norms.make(subject, other_norms.GROUP, shape)
    given = strided(subject.randn(*shape, seed=1), dy)
    yield from other_norms.step_against_float64(other_norms.GROUP, layer, strided(subject.randn(*shape), x), given)


def _case(name: str, observers: Mapping[str, Observe], **options: Any) -> NumericsCase:
    options = {"quick": False, "rule": RULE, **options}
    return NumericsCase(group="strides", name=name, observe=partial(each_backend, observers=observers), **options)


def _steps() -> Iterator[NumericsCase]:
    for (rank, shape), training in product(RANKS.items(), (True, False)):
        where = f"batch_norm{rank}d/{'train' if training else 'eval'}"
        for x in LAYOUTS + OTHERS:
            observe = partial(_step, shape=shape, x=x, training=training)
            yield _case(
                f"{where}/x={x}",
                {f"dy={dy}": partial(observe, dy=dy) for dy in LAYOUTS + EXPANDED},
                rows=ROWS[x],
                quick=rank == 2 and x in LAYOUTS[1:] and training,
            )
        for stored in (True, False):
            yield _case(
                f"{where}/orders/statistics={'uneven' if stored else 'default'}",
                {"": partial(_orders, shape=ORDERED[rank][0], training=training, stored=stored)},
                rows=("N01",) if not training else (),
            )
        observe = partial(_orders, training=training, stored=True)
        yield _case(
            f"{where}/orders/sizes-of-1",
            {"x".join(map(str, sizes)): partial(observe, shape=sizes) for sizes in ORDERED[rank][1:]},
        )
        yield _case(
            f"{where}/part-of-larger",
            {"": partial(_same_as_clone, dimensions=rank, training=training)},
            rows=("N12",),
            rule="a part of a larger tensor gives the same results as a copy of it",
        )
    for (name, shape), training in product(EDGES.items(), (True, False)):
        observe = partial(_step, shape=shape, training=training)
        pairs = product(LAYOUTS[:3], LAYOUTS[:2])
        yield _case(
            f"batch_norm2d/{'train' if training else 'eval'}/{name}",
            {f"x={x}/dy={dy}": partial(observe, x=x, dy=dy) for x, dy in pairs},
        )
    for dtype, training in product(("float16", "bfloat16"), (True, False)):
        observe = partial(_half, dtype=dtype, training=training)
        yield _case(
            f"batch_norm2d/{'train' if training else 'eval'}/{dtype}",
            {f"x={x}/dy={dy}": partial(observe, x=x, dy=dy) for x, dy in product(LAYOUTS, repeat=2)},
            rows=("N02",) if not training else (),
        )


def _kinds() -> Iterator[NumericsCase]:
    for kind, rank in product(("batch_norm", *other_norms.KINDS), RANKS):
        own = kind != "batch_norm"
        yield _case(
            f"{kind}/{rank}d/format" if own else f"{kind}{rank}d/format",
            {"": partial(_format, kind=kind, dimensions=rank)},
            rule="outputs and gradients keep the layout of the input",
            version=2,  # gradients as the layer gives them
            rows=("P16",) if rank > 1 else (),
            torch_only=own,
        )
    for kind, (rank, shape), x in product(other_norms.KINDS, RANKS.items(), LAYOUTS):
        observe = partial(_other_norm, kind=kind, shape=(shape[0], 64, *shape[2:]), x=x)
        yield _case(
            f"{kind}/{rank}d/x={x}",
            {f"dy={dy}": partial(observe, dy=dy) for dy in (*LAYOUTS, "expanded-places")},
            rows=("N81",) if kind == other_norms.GROUP else (),
            torch_only=True,
        )
    yield _case(
        "group_norm/8x64x32x32",
        {f"x={x}/dy={dy}": partial(_many, x=x, dy=dy) for x, dy in product(LAYOUTS[:2], repeat=2)},
        torch_only=True,
    )


def cases() -> Iterator[NumericsCase]:
    yield from _steps()
    yield from _kinds()
