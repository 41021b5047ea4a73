"""Networks under torch.compile against the same in eager mode."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

from bnsuite.cases.checks.behaviour.compile.backends import AOT, INDUCTOR, PARTS, counted, need, reset
from bnsuite.cases.checks.case import BOUNDLESS, BehaviourCase, Observation, Subject
from bnsuite.cases.checks.material import other_norms
from bnsuite.cases.checks.material.arithmetic import LIMIT, error_ratio, randomize_state
from bnsuite.cases.checks.material.states import COUNTER

if TYPE_CHECKING:
    import torch
    from torch import nn

#: The most that the error of a whole tensor may be, in errors of the eager net; or in units in the last place, where
#: eager adds up in float64. In float64 nothing is more exact, and the two are held to each other.
RATIO, ULPS, ULPS64 = 3.0, 10.0, 100.0
#: The same for sums of 1e5 values, which eager adds up in parts and compiled code in fewer: correct code had 4.
LARGE_RATIO = 10.0
DTYPES = ("float64", "bfloat16", "float16")
SHAPES: dict[str, tuple[int, ...]] = {
    "1d": (33, 20),
    "1d+places": (6, 20, 9),
    "2d": (5, 20, 7, 6),
    "3d": (4, 20, 3, 4, 5),
}
FLAGS: dict[str, dict[str, Any]] = {
    "default": {},
    "affine=off": {"affine": False},
    "tracking=off": {"track_running_stats": False},
    "both=off": {"affine": False, "track_running_stats": False},
    "eps+momentum": {"eps": 1e-2, "momentum": 0.7},
}


@dataclass(frozen=True)
class Member:
    """One of the nets that are compiled together, and its input."""

    shape: tuple[int, ...]
    kind: str = "batch_norm"
    training: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    channels_last: bool = False
    #: The standard deviation of the input, and the factor of the running variances.
    std: float = 2.0
    var: float = 1.0

    def made(self, subject: Subject) -> nn.Module:
        import torch
        from torch import nn

        torch.manual_seed(0)
        channels, dimensions = self.shape[1], max(1, len(self.shape) - 2)
        if self.kind in other_norms.KINDS:
            return other_norms.make(subject, self.kind, self.shape).train(self.training)
        if self.kind == "tracked_instance_norm":
            net = randomize_state(
                other_norms.instance_norm(dimensions, channels, affine=True, track_running_stats=True)
            )
        elif self.kind == "sync_batch_norm":
            net = randomize_state(nn.SyncBatchNorm(channels, **self.options))
        else:
            net = randomize_state(subject.batch_norm(dimensions, channels, **self.options))
            with torch.no_grad():
                for name, buffer in net.named_buffers():
                    if name.endswith("running_var"):
                        buffer.mul_(self.var)
        if self.kind == "block":
            conv: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
            net = nn.Sequential(
                conv(channels, channels, 3, padding=1, bias=False), net, nn.ReLU(), conv(channels, channels, 1)
            )
        net = net.to(subject.device).train(self.training)
        return net.double() if self.dtype == "float64" else net

    def input(self, subject: Subject, seed: int, count: int | None = None) -> torch.Tensor:
        import torch

        shape = (count or self.shape[0], *self.shape[1:])
        x = subject.randn(*shape, seed=seed, dtype=self.dtype, std=self.std, mean=self.std / 4)
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        return x.contiguous(memory_format=formats[x.dim()]) if self.channels_last else x


Nets = list[Any]
Call = Callable[..., Any]


def _step(nets: Nets, call: Call, xs: list[Any], dys: list[Any], *, grad: bool) -> list[dict[str, torch.Tensor]]:
    """Returns for each net the output, gradients and floating-point buffers of a step through all `nets` by `call`."""
    import torch

    leaves = [x.detach().requires_grad_(grad) for x in xs]
    for net in nets:
        net.zero_grad(set_to_none=True)
    with torch.set_grad_enabled(grad):
        ys = call(*leaves)
    if grad:
        torch.autograd.backward(ys, [_shaped(dy, y) for dy, y in zip(dys, ys, strict=True)])
    results = []
    for net, leaf, y in zip(nets, leaves, ys, strict=True):
        found = {"y": y.detach(), "dx": leaf.grad}
        found |= {f"d{name}": None if one.grad is None else one.grad.flatten() for name, one in net.named_parameters()}
        found |= {name: one.clone() for name, one in net.named_buffers() if one.is_floating_point()}
        results.append({name: one for name, one in found.items() if one is not None})
    return results


def _shaped(dy: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Returns an incoming gradient of the type and shape of `y`, which may have fewer values than the input."""
    return dy.to(y.dtype) if dy.shape == y.shape else dy.to(y.dtype).flatten()[: y.numel()].view(y.shape)


def _through(nets: Nets) -> Call:
    def call(*xs: torch.Tensor) -> list[Any]:
        return [net(x) for net, x in zip(nets, xs, strict=True)]

    return call


class Compilable(Protocol):
    """A net that is compiled together with others, and its inputs."""

    def made(self, subject: Subject) -> nn.Module: ...

    def input(self, subject: Subject, seed: int, count: int | None = None) -> torch.Tensor: ...


@dataclass(frozen=True)
class CompileOptions:
    """The options by which nets are compiled and run."""

    backend: str
    dynamic: bool | None = False
    fullgraph: bool = True
    #: Numbers of samples, one per step; None for as many as the shape has.
    counts: tuple[int | None, ...] = (None, None, None)
    grad: bool = True
    #: The most that the error of a whole tensor may be, as `RATIO`.
    ratio: float = RATIO


def together(subject: Subject, *, members: Mapping[str, Compilable], how: CompileOptions) -> Iterator[Observation]:
    """Compares steps of nets that are compiled together with eager mode and float64, from the same state."""
    import torch

    need(how.backend, subject.device)
    nets = [member.made(subject) for member in members.values()]
    plain, exact = copy.deepcopy(nets), [copy.deepcopy(net).double() for net in nets]
    worst: dict[str, float] = {}
    words: dict[str, set[str]] = {}
    reset()
    try:
        call = torch.compile(_through(nets), backend=how.backend, dynamic=how.dynamic, fullgraph=how.fullgraph)
        for number, count in enumerate(how.counts):
            xs, dys = (
                [member.input(subject, 2 * number + one, count) for member in members.values()] for one in (0, 1)
            )
            for net, one, other in zip(nets, plain, exact, strict=True):
                one.load_state_dict(net.state_dict())
                other.load_state_dict(net.state_dict())
            sides = (
                _step(nets, call, xs, dys, grad=how.grad),
                _step(exact, _through(exact), [x.double() for x in xs], [dy.double() for dy in dys], grad=how.grad),
                _step(plain, _through(plain), xs, dys, grad=how.grad),
            )
            for name, net, eager, seen, truth, two_pass in zip(members, nets, plain, *sides, strict=True):
                words.setdefault(f"{name}/parts", set()).add("eager's" if seen.keys() == two_pass.keys() else "others")
                for part in (one for one in two_pass if one in seen):
                    for how_far, far in _far(seen[part], truth[part], two_pass[part]).items():
                        what = f"{name}/{part}/{how_far}"
                        worst[what] = max(far, worst.get(what, 0.0))
                    same = seen[part].dtype == two_pass[part].dtype and seen[part].stride() == two_pass[part].stride()
                    words.setdefault(f"{name}/dtypes and strides", set()).add("eager's" if same else "others")
                words.setdefault(f"{name}/counter", set()).add(_counter(net, eager))
        breaks, graphs = sum(counted()["graph_break"].values()), counted()["stats"]["unique_graphs"]
    finally:
        reset()
    yield Observation("graph breaks", str(breaks), expected="0")
    yield Observation("graphs", "some" if graphs else "none", expected="some")
    for what, far in worst.items():
        yield Observation(what, far, how.ratio if what.endswith("rmse") else LIMIT)
    for what, found in words.items():
        yield Observation(what, "+".join(sorted(found)), expected="eager's")


def _far(seen: torch.Tensor, truth: torch.Tensor, two_pass: torch.Tensor) -> dict[str, float]:
    """Returns the error of `seen`, as a whole and in the worst channel, in errors of `two_pass`."""
    import torch

    if seen.shape != truth.shape:
        return {"rmse": BOUNDLESS}
    one, other = ((side.double() - truth.double()).square().mean().sqrt().item() for side in (seen, two_pass))
    ulp = torch.finfo(seen.dtype).eps * truth.double().square().mean().sqrt().item()
    # nothing is more exact than float64 to measure its errors
    floor = (ULPS if seen.dtype != truth.dtype else ULPS64) * ulp
    ratio = one / max(other, floor / RATIO, 1e-300)
    return {"rmse": ratio if math.isfinite(ratio) else BOUNDLESS, "worst": error_ratio(seen, truth, two_pass)}


def _counter(net: Any, eager: Any) -> str:
    import torch

    pairs = [
        (one, other)
        for (name, one), (_, other) in zip(net.named_buffers(), eager.named_buffers(), strict=True)
        if name.endswith(COUNTER)
    ]
    return "eager's" if all(torch.equal(one, other) for one, other in pairs) else "another"


RULE = "compiled nets give the results and the state of eager ones, as precisely"


Bank = dict[str, Member]


def _both(shape: tuple[int, ...], *, kinds: tuple[str, ...] = ("batch_norm",), lasts: bool = False, **of: Any) -> Bank:
    """Nets in training and in evaluation, of each kind and, if asked for, in either layout."""
    return {
        f"{'train' if training else 'eval'}/{kind}{'/channels-last' if last else ''}": Member(
            shape, kind, training, channels_last=last, **of
        )
        for kind, training, last in product(kinds, (True, False), (False, True) if lasts else (False,))
    }


def _flags(shape: tuple[int, ...]) -> Bank:
    made = {flags: _both(shape, options=options) for flags, options in FLAGS.items()}
    return {f"{flags}/{one}": member for flags, members in made.items() for one, member in members.items()}


def _inputs(shape: tuple[int, ...]) -> Bank:
    """Inputs of every precision and size, and stored variances from the smallest to the largest."""
    bank = {f"train/std={one}": Member(shape, std=one) for one in (1e-3, 1e3)}
    bank |= {f"eval/var={one}": Member(shape, training=False, var=one) for one in (1e-8, 1e-4, 1e4, 1e8)}
    return bank | {
        f"{'train' if training else 'eval'}/{dtype}": Member(shape, training=training, dtype=dtype)
        for training, dtype in product((True, False), DTYPES)
    }


def _banks() -> Iterator[tuple[str, Bank]]:
    """Yields sets of nets of batch norm layers, by what they have in common."""
    for name, shape in SHAPES.items():
        yield f"batch_norm{name}/flags", _flags(shape)
        if name in {"1d", "2d"}:
            yield f"batch_norm{name}/inputs", _inputs(shape)
    yield "batch_norm2d/blocks", _both(SHAPES["2d"], kinds=("batch_norm", "block"), lasts=True)
    yield "batch_norm3d/blocks", _both(SHAPES["3d"], kinds=("block",))
    yield "batch_norm2d/large", _both((2, 3, 300, 400))


def _other_norm_banks() -> Iterator[tuple[str, Bank]]:
    """Yields sets of nets of torch's other layers; only those that keep statistics differ in training."""
    keepers = ("tracked_instance_norm", "sync_batch_norm")
    for name in ("2d", "3d"):
        plain = {
            f"{kind}{'/channels-last' if last else ''}": Member(SHAPES[name], kind, channels_last=last)
            for kind, last in product(other_norms.KINDS, (False, True))
        }
        yield f"other-norms-{name}", plain | _both(SHAPES[name], kinds=keepers)
    large = {
        "instance_norm": Member((1, 2, 700, 700), other_norms.INSTANCE),
        "group_norm": Member((4, 128, 32, 32), other_norms.GROUP, channels_last=True),
    }
    yield "other-norms-2d/large", large


def _ratio(name: str) -> float:
    return LARGE_RATIO if name.endswith("large") else RATIO


def cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="compile", rule=RULE, limit_s=300.0)
    for torch_only, banks in ((False, _banks()), (True, _other_norm_banks())):
        for name, members in banks:
            rows = ("N79", "N80") if torch_only and "large" in name else ("N72", "N73", *("N76",) * ("inputs" in name))
            for backend in (AOT, PARTS):
                if backend == AOT and "flags" not in name:
                    continue
                yield case(
                    name=f"{backend}/{name}",
                    observe=partial(together, members=members, how=CompileOptions(backend, ratio=_ratio(name))),
                    rows=rows,
                    quick=backend == AOT and name == "batch_norm2d/flags",
                    torch_only=torch_only,
                )
    # compiling takes time, so there are few of these
    few = {f"{one}/{name}": net for one, shape in SHAPES.items() for name, net in _both(shape).items()}
    few |= {f"affine=off/{name}": net for name, net in _both(SHAPES["2d"], options=FLAGS["affine=off"]).items()}
    inductor: dict[str, tuple[Bank, tuple[str, ...]]] = {
        "batch_norm": (few, ("N72", "N73")),
        "batch_norm2d/inputs": (_inputs(SHAPES["2d"]), ("N73", "N76")),
        "batch_norm2d/large": (_both((2, 3, 300, 400)), ("N73",)),
        **{name: (members, ("N79", "N80", "N73")) for name, members in _other_norm_banks() if name != "other-norms-3d"},
    }
    for name, (members, rows) in inductor.items():
        observe = partial(together, members=members, how=CompileOptions(INDUCTOR, ratio=_ratio(name)))
        yield case(name=f"{INDUCTOR}/{name}", observe=observe, rows=rows, torch_only="other-norms" in name)
    for backend, name in ((PARTS, "1d"), (PARTS, "2d"), (INDUCTOR, "2d")):
        kinds = ("batch_norm", "block") if name == "2d" else ("batch_norm",)
        how = CompileOptions(backend, dynamic=True, counts=(3, 4, 7, 32, 5))
        yield case(
            name=f"{backend}/batch_norm{name}/dynamic",
            observe=partial(together, members=_both(SHAPES[name], kinds=kinds), how=how),
            rows=("N74",),
        )
    for backend in (AOT, PARTS):
        how = CompileOptions(backend, dynamic=None, fullgraph=False, grad=False)
        yield case(
            name=f"{backend}/batch_norm2d/no-grad", observe=partial(together, members=_both(SHAPES["2d"]), how=how)
        )
