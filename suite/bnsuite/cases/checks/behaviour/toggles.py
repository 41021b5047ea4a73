"""Family ``toggles``: statistics read and written after training and track_running_stats were set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import BehaviourCase, Observation, Subject
from bnsuite.cases.checks.material.arithmetic import randomize_state
from bnsuite.cases.checks.material.flags import MOMENTUM, REMOVED, SHAPES, Setting, make, read_and_written
from bnsuite.cases.checks.material.states import BUFFERS, STATISTICS

if TYPE_CHECKING:
    import torch
    from torch import nn


def _documented(setting: Setting) -> tuple[str, str]:
    """Returns the statistics read and written where nothing was changed after construction."""
    writes = setting.training and setting.made
    return "batch" if setting.training or not setting.made else "stored", "+".join(BUFFERS) if writes else "nothing"


def _table(
    subject: Subject, *, dimensions: int, training: bool, built: bool, later: bool | None
) -> Iterator[Observation]:
    for affine, taken, momentum in product((True, False), REMOVED if built else ("kept",), (MOMENTUM, None)):
        setting = Setting(training, built, later, affine, taken, momentum)
        layer = make(subject, dimensions, setting)
        what = f"affine={_on(affine)}/buffers={taken}/momentum={momentum}"
        read, wrote = read_and_written(layer, subject.randn(*SHAPES[dimensions]), momentum)
        expected = _documented(setting) if setting.documented else (None, None)
        yield Observation(f"{what}/read", read, expected=expected[0])
        yield Observation(f"{what}/written", wrote, expected=expected[1])


def _switched(subject: Subject, *, dimensions: int, tracked: bool) -> Iterator[Observation]:
    """Switches a layer by every method there is: it depends on the last switch alone."""
    import torch

    layer = randomize_state(subject.batch_norm(dimensions, 5, track_running_stats=tracked, momentum=MOMENTUM))
    net = torch.nn.Sequential(torch.nn.Identity(), layer)

    def attribute() -> None:
        layer.training = False

    ways: list[tuple[str, bool, Callable[[], Any]]] = [
        ("eval()", False, layer.eval),
        ("train()", True, layer.train),
        ("train(False)", False, lambda: layer.train(False)),
        ("train(True)", True, lambda: layer.train(True)),
        ("eval() of the net", False, net.eval),
        ("train() of the net", True, net.train),
        ("attribute", False, attribute),
    ]
    for number, (name, training, switch) in enumerate(ways):
        switch()
        read, wrote = read_and_written(layer, subject.randn(*SHAPES[dimensions], seed=number))
        expected = _documented(Setting(training, tracked))
        yield Observation(f"{number} {name}/read", read, expected=expected[0])
        yield Observation(f"{number} {name}/written", wrote, expected=expected[1])


def _modes(subject: Subject, *, dimensions: int) -> Iterator[Observation]:
    """Checks that modes of torch around the layer don't affect which statistics are used."""
    import torch

    for name, mode in (("no_grad", torch.no_grad), ("inference_mode", torch.inference_mode)):
        for training, tracked in product((True, False), repeat=2):
            layer = make(subject, dimensions, Setting(training, tracked))
            with mode():
                read, wrote = read_and_written(layer, subject.randn(*SHAPES[dimensions]))
            expected = _documented(Setting(training, tracked))
            what = f"{name}/training={_on(training)}/tracking={_on(tracked)}"
            yield Observation(f"{what}/read", read, expected=expected[0])
            yield Observation(f"{what}/written", wrote, expected=expected[1])


def _later_statistics(subject: Subject, *, dimensions: int) -> Iterator[Observation]:
    """Buffers given to a layer that was made without: by design they are used."""
    import torch

    for training, later in product((True, False), (None, True)):
        layer: Any = make(subject, dimensions, Setting(training, made=False, later=later))
        for name in STATISTICS:
            setattr(layer, name, torch.full((5,), 3.0, device=subject.device))
        read, wrote = read_and_written(layer, subject.randn(*SHAPES[dimensions]))
        what = f"training={_on(training)}/set={'unset' if later is None else _on(later)}"
        yield Observation(f"{what}/read", read)
        yield Observation(f"{what}/written", wrote)


def _other(subject: Subject, *, kind: str, dimensions: int) -> Iterator[Observation]:
    """The same table of SyncBatchNorm in one process, or of an instance norm.

    An instance norm normalises each sample by itself unless it evaluates with statistics of its own; what it writes
    is the mean over samples, and its counter stands still by design.
    """
    from torch import nn

    instance = kind == "instance_norm"
    kinds: dict[str, Callable[..., nn.Module]] = {
        "instance_norm": (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[dimensions - 1],
        "sync_batch_norm": nn.SyncBatchNorm,
    }
    for training, tracked, affine, switch in product((True, False), (True, False), (True, False), ("train", "eval")):
        if training and switch == "eval":
            continue
        layer: nn.Module = randomize_state(
            kinds[kind](5, affine=affine, track_running_stats=tracked, momentum=MOMENTUM).to(subject.device)
        )
        layer = layer.eval() if switch == "eval" else layer.train(training)
        read, wrote = read_and_written(layer, subject.randn(*SHAPES[dimensions]), by_sample=instance)
        expected = _documented(Setting(training, tracked))
        due = expected[1].removesuffix("+num_batches_tracked") if instance else expected[1]
        what = f"{switch}({'' if switch == 'eval' else training})/tracking={_on(tracked)}/affine={_on(affine)}"
        yield Observation(
            f"{what}/read", read, expected="sample" if instance and expected[0] == "batch" else expected[0]
        )
        yield Observation(f"{what}/written", wrote, expected=due)


def _functional(subject: Subject, *, dimensions: int) -> Iterator[Observation]:
    """The function below the layers, by its own arguments."""
    from torch import nn
    from torch.nn import functional

    x = subject.randn(*SHAPES[dimensions])
    for training, given, affine in product((True, False), ("both", "none", "mean", "var"), (True, False)):
        layer = make(subject, dimensions, Setting(training, made=True, affine=affine))
        holder: Any = nn.Module()
        for name in BUFFERS:
            kept = given == "both" or name == f"running_{given}"
            setattr(holder, name, getattr(layer, name).clone() if kept else None)
        holder.num_batches_tracked = None
        holder.weight, holder.bias = (getattr(layer, name) for name in ("weight", "bias"))

        def call(taken: torch.Tensor, *, of: Any = holder, training: bool = training) -> torch.Tensor:
            return functional.batch_norm(
                taken, of.running_mean, of.running_var, of.weight, of.bias, training=training, momentum=MOMENTUM
            )

        holder.forward = call
        read, wrote = read_and_written(holder, x)
        documented = given in {"both", "none"} and (training or given == "both")
        what = f"training={_on(training)}/statistics={given}/affine={_on(affine)}"
        expected = "batch" if training else "stored"
        due = "+".join(STATISTICS) if training and given == "both" else "nothing"
        yield Observation(f"{what}/read", read, expected=expected if documented else None)
        yield Observation(f"{what}/written", wrote, expected=due if documented else None)


def _on(flag: bool) -> str:
    return "on" if flag else "off"


def cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="toggles")
    rule = "the flags alone determine which statistics are read and written"
    for dimensions, training, built, later in product(SHAPES, (True, False), (True, False), (None, True, False)):
        when = "unset" if later is None else _on(later)
        mode = "train" if training else "eval"
        yield case(
            name=f"batch_norm{dimensions}d/{mode}/made={_on(built)}/set={when}",
            observe=partial(_table, dimensions=dimensions, training=training, built=built, later=later),
            rule=rule,
            rows=("A18",) if later is None else ("A18", "A19") if training else ("A18", "A19", "T09"),
            quick=dimensions == 2 and later is None,
        )
    for dimensions, tracked in product(SHAPES, (True, False)):
        yield case(
            name=f"batch_norm{dimensions}d/switched/tracking={_on(tracked)}",
            observe=partial(_switched, dimensions=dimensions, tracked=tracked),
            rule="train(False) is eval(), and the last switch counts",
            rows=("A33",),
            quick=dimensions == 1,
        )
    for dimensions in SHAPES:
        yield case(name=f"batch_norm{dimensions}d/modes", observe=partial(_modes, dimensions=dimensions), rule=rule)
        yield case(
            name=f"batch_norm{dimensions}d/given-later",
            observe=partial(_later_statistics, dimensions=dimensions),
            rule="statistics set on a layer that was made without them are used as accepted",
        )
        yield case(
            name=f"functional/{dimensions}d",
            observe=partial(_functional, dimensions=dimensions),
            rule=rule,
            torch_only=True,
        )
        for kind in ("instance_norm", "sync_batch_norm"):
            yield case(
                name=f"{kind}/{dimensions}d",
                observe=partial(_other, kind=kind, dimensions=dimensions),
                rule=rule,
                rows=("A33",) if kind == "instance_norm" else (),
                torch_only=True,
            )
