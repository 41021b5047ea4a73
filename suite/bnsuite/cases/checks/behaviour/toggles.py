"""TOGGLE: training and track_running_stats, set whenever: which statistics are read, and which are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import BehaviourCase, Observation, Subject
from bnsuite.cases.checks.reference import unsettle

if TYPE_CHECKING:
    import torch
    from torch import nn

SHAPES: dict[int, tuple[int, ...]] = {1: (6, 5, 4), 2: (6, 5, 3, 4), 3: (4, 5, 2, 3, 2)}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
#: What may be done to the buffers after construction, and to which.
TAKEN: dict[str, tuple[str, ...]] = {
    "kept": (),
    "taken": ("running_mean", "running_var"),
    "mean-taken": ("running_mean",),
    "var-taken": ("running_var",),
    "counter-taken": ("num_batches_tracked",),
    "all-taken": STATISTICS,
}
MOMENTUM = 0.3
EPS = 1e-5


@dataclass(frozen=True)
class Setting:
    """How a layer is made and what is then done to it."""

    training: bool
    #: track_running_stats as the layer is made, and set later if it is.
    made: bool
    later: bool | None = None
    affine: bool = True
    taken: str = "kept"
    momentum: float | None = MOMENTUM

    @property
    def documented(self) -> bool:
        """Whether torch tells what this gives; with the rest it changed, and is compared with what was accepted."""
        return self.later is None and self.taken == "kept"


def _axes(x: torch.Tensor) -> list[int]:
    return [axis for axis in range(x.dim()) if axis != 1]


def source(
    x: torch.Tensor, y: torch.Tensor, layer: nn.Module, mean: torch.Tensor | None, var: torch.Tensor | None
) -> str:
    """By which statistics `y` was made of `x`: those of the batch, of each sample, or the stored `mean` and `var`."""
    import torch

    lifted, axes = x.detach().double(), _axes(x)
    shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
    pairs = {"batch": (lifted.mean(axes, keepdim=True), lifted.var(axes, correction=0, keepdim=True))}
    pairs["sample"] = (lifted.mean(axes[1:], keepdim=True), lifted.var(axes[1:], correction=0, keepdim=True))
    if mean is not None and var is not None:
        pairs["stored"] = (mean.double().view(shape), var.double().view(shape))
    for name, (m, v) in pairs.items():
        expected = (lifted - m) / (v + EPS).sqrt()
        for parameter, done in (("weight", torch.mul), ("bias", torch.add)):
            found = getattr(layer, parameter, None)
            if found is not None:
                expected = done(expected, found.detach().double().view(shape))
        if torch.allclose(y.detach().double(), expected, rtol=1e-4, atol=1e-4):
            return name
    return "neither"


def written(
    layer: nn.Module,
    before: dict[str, torch.Tensor | None],
    x: torch.Tensor,
    momentum: float | None,
    *,
    by_sample: bool = False,
) -> str:
    """Which buffers a step on `x` changed, from what they were `before`; marked if not to what they should be.

    What goes into them is the batch's, or `by_sample` the mean of what the samples have.
    """
    import torch

    lifted, axes = x.detach().double(), _axes(x)
    counted = before["num_batches_tracked"]
    share = (1.0 / (1 + int(counted)) if counted is not None else 0.0) if momentum is None else momentum
    var = lifted.var(axes[1:], correction=1).mean(0) if by_sample else lifted.var(axes, correction=1)
    batch = {"running_mean": lifted.mean(axes), "running_var": var}
    words = []
    for name, old in before.items():
        now = getattr(layer, name, None)
        if old is None or now is None:
            if (old is None) != (now is None):
                words.append(f"{name} appeared or went")
            continue
        if torch.equal(old, now):
            continue
        due = old + 1 if name == "num_batches_tracked" else (1 - share) * old.double() + share * batch[name]
        words.append(name if torch.allclose(now.double(), due.double(), rtol=1e-4) else f"{name} wrongly")
    return "+".join(words) or "nothing"


def look_at(
    layer: nn.Module, x: torch.Tensor, momentum: float | None = MOMENTUM, *, by_sample: bool = False
) -> tuple[str, str]:
    """Which statistics a call of `layer` reads, or the error it ends with; and which it writes."""
    before = {name: None if (b := getattr(layer, name, None)) is None else b.detach().clone() for name in STATISTICS}
    try:
        y = layer(x)
    except Exception as error:  # noqa: BLE001  # whatever a layer raises is what is looked at
        read = type(error).__name__
    else:
        read = source(x, y, layer, before["running_mean"], before["running_var"])
    return read, written(layer, before, x, momentum, by_sample=by_sample)


def made(subject: Subject, dimensions: int, setting: Setting) -> nn.Module:
    layer: Any = unsettle(
        subject.batch_norm(
            dimensions,
            SHAPES[dimensions][1],
            affine=setting.affine,
            track_running_stats=setting.made,
            momentum=setting.momentum,
        )
    )
    if setting.later is not None:
        layer.track_running_stats = setting.later
    for name in TAKEN[setting.taken]:
        setattr(layer, name, None)
    done: nn.Module = layer.train(setting.training)
    return done


def _told(setting: Setting) -> tuple[str, str]:
    """What is read and written where nothing was changed after construction."""
    writes = setting.training and setting.made
    return "batch" if setting.training or not setting.made else "stored", "+".join(STATISTICS) if writes else "nothing"


def _table(
    subject: Subject, *, dimensions: int, training: bool, built: bool, later: bool | None
) -> Iterator[Observation]:
    for affine, taken, momentum in product((True, False), TAKEN if built else ("kept",), (MOMENTUM, None)):
        setting = Setting(training, built, later, affine, taken, momentum)
        layer = made(subject, dimensions, setting)
        what = f"affine={_on(affine)}/buffers={taken}/momentum={momentum}"
        read, wrote = look_at(layer, subject.randn(*SHAPES[dimensions]), momentum)
        told = _told(setting) if setting.documented else (None, None)
        yield Observation(f"{what}/read", read, expected=told[0])
        yield Observation(f"{what}/written", wrote, expected=told[1])


def _switched(subject: Subject, *, dimensions: int, tracked: bool) -> Iterator[Observation]:
    """A layer switched to and fro, by every way there is: what it does depends on the last alone."""
    import torch

    layer = unsettle(subject.batch_norm(dimensions, 5, track_running_stats=tracked, momentum=MOMENTUM))
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
        read, wrote = look_at(layer, subject.randn(*SHAPES[dimensions], seed=number))
        told = _told(Setting(training, tracked))
        yield Observation(f"{number} {name}/read", read, expected=told[0])
        yield Observation(f"{number} {name}/written", wrote, expected=told[1])


def _modes(subject: Subject, *, dimensions: int) -> Iterator[Observation]:
    """Modes of torch around the layer, which have no say in which statistics are used."""
    import torch

    for name, mode in (("no_grad", torch.no_grad), ("inference_mode", torch.inference_mode)):
        for training, tracked in product((True, False), repeat=2):
            layer = made(subject, dimensions, Setting(training, tracked))
            with mode():
                read, wrote = look_at(layer, subject.randn(*SHAPES[dimensions]))
            told = _told(Setting(training, tracked))
            what = f"{name}/training={_on(training)}/tracking={_on(tracked)}"
            yield Observation(f"{what}/read", read, expected=told[0])
            yield Observation(f"{what}/written", wrote, expected=told[1])


def _later_statistics(subject: Subject, *, dimensions: int) -> Iterator[Observation]:
    """Buffers given to a layer that was made without: by design they are used."""
    import torch

    for training, later in product((True, False), (None, True)):
        layer: Any = made(subject, dimensions, Setting(training, made=False, later=later))
        for name in STATISTICS[:2]:
            setattr(layer, name, torch.full((5,), 3.0, device=subject.device))
        read, wrote = look_at(layer, subject.randn(*SHAPES[dimensions]))
        what = f"training={_on(training)}/set={'unset' if later is None else _on(later)}"
        yield Observation(f"{what}/read", read)
        yield Observation(f"{what}/written", wrote)


def _other(subject: Subject, *, kind: str, dimensions: int) -> Iterator[Observation]:
    """The same table of a kin, SyncBatchNorm in one process or an instance norm.

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
        layer: nn.Module = unsettle(
            kinds[kind](5, affine=affine, track_running_stats=tracked, momentum=MOMENTUM).to(subject.device)
        )
        layer = layer.eval() if switch == "eval" else layer.train(training)
        read, wrote = look_at(layer, subject.randn(*SHAPES[dimensions]), by_sample=instance)
        told = _told(Setting(training, tracked))
        due = told[1].removesuffix("+num_batches_tracked") if instance else told[1]
        what = f"{switch}({'' if switch == 'eval' else training})/tracking={_on(tracked)}/affine={_on(affine)}"
        yield Observation(f"{what}/read", read, expected="sample" if instance and told[0] == "batch" else told[0])
        yield Observation(f"{what}/written", wrote, expected=due)


def _functional(subject: Subject, *, dimensions: int) -> Iterator[Observation]:
    """The function below the layers, by its own arguments."""
    from torch import nn
    from torch.nn import functional

    x = subject.randn(*SHAPES[dimensions])
    for training, given, affine in product((True, False), ("both", "none", "mean", "var"), (True, False)):
        layer = made(subject, dimensions, Setting(training, made=True, affine=affine))
        holder: Any = nn.Module()
        for name in STATISTICS:
            kept = given == "both" or name == f"running_{given}"
            setattr(holder, name, getattr(layer, name).clone() if kept else None)
        holder.num_batches_tracked = None
        holder.weight, holder.bias = (getattr(layer, name) for name in ("weight", "bias"))

        def call(taken: torch.Tensor, *, of: Any = holder, training: bool = training) -> torch.Tensor:
            return functional.batch_norm(
                taken, of.running_mean, of.running_var, of.weight, of.bias, training=training, momentum=MOMENTUM
            )

        holder.forward = call
        read, wrote = look_at(holder, x)
        documented = given in {"both", "none"} and (training or given == "both")
        what = f"training={_on(training)}/statistics={given}/affine={_on(affine)}"
        told = "batch" if training else "stored"
        due = "+".join(STATISTICS[:2]) if training and given == "both" else "nothing"
        yield Observation(f"{what}/read", read, expected=told if documented else None)
        yield Observation(f"{what}/written", wrote, expected=due if documented else None)


def _on(flag: bool) -> str:
    return "on" if flag else "off"


def cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="TOGGLE")
    rule = "the flags alone say which statistics are read and written"
    for dimensions, training, built, later in product(SHAPES, (True, False), (True, False), (None, True, False)):
        when = "unset" if later is None else _on(later)
        mode = "train" if training else "eval"
        yield case(
            name=f"batch_norm{dimensions}d/{mode}/made={_on(built)}/set={when}",
            look=partial(_table, dimensions=dimensions, training=training, built=built, later=later),
            rule=rule,
            rows=("A18",) if later is None else ("A18", "A19") if training else ("A18", "A19", "T09"),
            quick=dimensions == 2 and later is None,
        )
    for dimensions, tracked in product(SHAPES, (True, False)):
        yield case(
            name=f"batch_norm{dimensions}d/switched/tracking={_on(tracked)}",
            look=partial(_switched, dimensions=dimensions, tracked=tracked),
            rule="train(False) is eval(), and the last switch counts",
            rows=("A33",),
            quick=dimensions == 1,
        )
    for dimensions in SHAPES:
        yield case(name=f"batch_norm{dimensions}d/modes", look=partial(_modes, dimensions=dimensions), rule=rule)
        yield case(
            name=f"batch_norm{dimensions}d/given-later",
            look=partial(_later_statistics, dimensions=dimensions),
            rule="statistics given to a layer that was made without are used as was accepted",
        )
        yield case(
            name=f"functional/{dimensions}d",
            look=partial(_functional, dimensions=dimensions),
            rule=rule,
            torch_only=True,
        )
        for kind in ("instance_norm", "sync_batch_norm"):
            yield case(
                name=f"{kind}/{dimensions}d",
                look=partial(_other, kind=kind, dimensions=dimensions),
                rule=rule,
                rows=("A33",) if kind == "instance_norm" else (),
                torch_only=True,
            )
