"""Running statistics, the counter and the state of a layer after a few steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bnsuite.cases.diagnosis.deviation import Deviation
from bnsuite.cases.diagnosis.material import COUNTER, STATISTICS, Subject, agree, double, tensor
from bnsuite.cases.support import DEFAULTS

if TYPE_CHECKING:
    import torch
    from torch import nn

MOMENTUM = 0.3
PARAMETERS = ("weight", "bias")


def statistics(subject: Subject) -> Iterator[Deviation]:
    """Yields what is wrong with the running statistics and the counter after training steps."""
    layer, x = subject.layer(momentum=MOMENTUM), subject.draw()
    before = {name: tensor(layer, name) for name in (*STATISTICS, COUNTER)}
    layer(x.clone().requires_grad_())
    after = {name: tensor(layer, name) for name in before}
    counter, later = before[COUNTER], after[COUNTER]
    if counter is not None and later is not None:
        counted = float((later - counter).sum())
        if counted != 1:
            yield Deviation("statistics", "counter", {"is": counted})
    if any(before[name] is None or after[name] is None for name in STATISTICS):
        return  # a deviation of the state
    given = DEFAULTS["momentum"] if "momentum" in subject.withheld else MOMENTUM
    found = [*_moved(before, after, x, given, subject.tolerance)]
    yield from found
    if not found and _stands_still(subject):
        yield Deviation("statistics", "still-without-gradients")
    elif not found and "momentum" not in subject.withheld:
        yield from _cumulative(subject)


def _forward(layer: nn.Module, x: torch.Tensor) -> None:
    import torch

    with torch.no_grad():
        layer(x)


def _moments(x: torch.Tensor) -> dict[str, dict[str, torch.Tensor]]:
    """Returns what may go into each running statistic, by name; the right one comes first."""
    rows = double(x).movedim(1, 0).flatten(1)  # (C, n)
    unbiased, biased = rows.var(1), rows.var(1, correction=0)
    return {
        "running_mean": {"mean": rows.mean(1)},
        "running_var": {"unbiased": unbiased, "biased": biased, "deviation": unbiased.sqrt()},
    }


def _moved(
    before: dict[str, torch.Tensor | None],
    after: dict[str, torch.Tensor | None],
    x: torch.Tensor,
    momentum: float,
    tolerance: float,
) -> Iterator[Deviation]:
    """Yields how the statistics moved, where that is not by a share of `momentum` towards the batch's."""
    shares = {
        "momentum": momentum,
        "inverted": 1 - momentum,
        "default": DEFAULTS["momentum"],
        "still": 0.0,
        "replaced": 1.0,
    }
    seen: dict[str, tuple[str, str] | None] = {}
    for name, kinds in _moments(x).items():
        old, new = before[name], after[name]
        assert old is not None
        seen[name] = next(
            (
                (how, kind)
                for how, share in shares.items()
                for kind, value in kinds.items()
                if agree(new, (1 - share) * old + share * value, tolerance)
            ),
            None,
        )
    hows = {one[0] for one in seen.values() if one is not None}
    if hows != {"momentum"} and len(hows) == 1 and None not in seen.values():
        yield Deviation("statistics", "share", {"is": hows.pop()})
    else:
        for name, one in seen.items():
            if one is None:
                yield Deviation("statistics", "unexplained", {"of": name})
            elif one[0] != "momentum":
                yield Deviation("statistics", "share", {"is": one[0], "of": name})
    kind = seen["running_var"]
    if kind is not None and kind[0] != "still" and kind[1] != "unbiased":
        yield Deviation("statistics", "running-variance", {"is": kind[1]})


def _stands_still(subject: Subject) -> bool:
    """Returns True if a training step without gradients leaves the running mean alone."""
    layer = subject.layer()
    before = tensor(layer, STATISTICS[0])
    _forward(layer, subject.draw())
    return _same(before, tensor(layer, STATISTICS[0]))


def _cumulative(subject: Subject) -> Iterator[Deviation]:
    """Yields a deviation if momentum=None is not the average of all batches."""
    layer, batches = subject.layer(momentum=None), [subject.draw(seed) for seed in (0, 1)]
    counter = getattr(layer, COUNTER, None)
    if counter is None:
        return
    counter.zero_()
    means = [_moments(x)["running_mean"]["mean"] for x in batches]
    for x in batches:
        _forward(layer, x.clone())
    if not agree(tensor(layer, "running_mean"), (means[0] + means[1]) / 2, subject.tolerance):
        yield Deviation("statistics", "momentum-none")


def state(subject: Subject) -> Iterator[Deviation]:
    """Yields what is missing in a layer's attributes and state, and what a pass changes that it must not."""
    import torch

    layer = subject.layer()
    names = (*PARAMETERS, *STATISTICS, COUNTER)
    there = [name for name in names if isinstance(getattr(layer, name, None), torch.Tensor)]
    kept = layer.state_dict()
    missing = [name for name in names if name not in there]
    unsaved = [name for name in there if name not in kept]
    if missing:
        yield Deviation("state", "missing", {"names": ", ".join(missing)})
    if unsaved:
        yield Deviation("state", "not-saved", {"names": ", ".join(unsaved)})
    for mode in (True, False):
        layer, x = subject.layer().train(mode), subject.draw()
        before, held = x.clone(), {name: tensor(layer, name) for name in names}
        buffers = {name: getattr(layer, name, None) for name in STATISTICS}
        _forward(layer, x)
        if not torch.equal(x, before):
            yield Deviation("value", "input-overwritten")
        if mode and any(getattr(layer, name, None) is not old for name, old in buffers.items()):
            yield Deviation("statistics", "replaced")
        fixed = PARAMETERS if mode else names
        moved = [name for name in fixed if not _same(held[name], tensor(layer, name))]
        if moved:
            stage, code = ("state", "parameters-moved") if mode else ("mode", "moved-in-evaluation")
            yield Deviation(stage, code, {"names": ", ".join(moved)})


def _same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    import torch

    return (one is None and other is None) or (one is not None and other is not None and torch.equal(one, other))
