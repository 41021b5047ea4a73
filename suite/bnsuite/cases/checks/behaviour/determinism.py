"""Family ``determinism``: the same numbers again."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from ctypes import string_at
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import combinations
from typing import TYPE_CHECKING, Any

from bnsuite.cases import precision
from bnsuite.cases.checks.case import BOUNDLESS, BehaviourCase, Observation, Observe, Subject
from bnsuite.cases.checks.material import other_norms
from bnsuite.cases.checks.material.arithmetic import randomize_state

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Norm:
    """A norm and its input."""

    name: str
    shape: tuple[int, ...]
    training: bool = True
    dtype: str = "float32"
    layout: str = "contiguous"

    @property
    def path(self) -> str:
        mode = "train" if self.training else "eval"
        return f"{self.name}/{'x'.join(map(str, self.shape))}/{mode}/{self.dtype}/{self.layout}"

    def layer(self, subject: Subject) -> nn.Module:
        """The layer away from its defaults."""
        if self.name in other_norms.KINDS:
            return other_norms.make(subject, self.name, self.shape).train(self.training)
        layer = subject.batch_norm(max(1, len(self.shape) - 2), self.shape[1])
        return randomize_state(layer).to(subject.device).train(self.training)

    def x(self, subject: Subject, seed: int = 0) -> torch.Tensor:
        import torch

        kind = torch.channels_last if self.layout == "channels-last" else torch.contiguous_format
        return subject.randn(*self.shape, seed=seed, dtype=self.dtype).contiguous(memory_format=kind)


def _step(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor, wanted: tuple[str, ...] = ()) -> dict[str, torch.Tensor]:
    """Returns output, gradients (of all, or of those `wanted`) and statistics of a step forward and back."""
    leaf = x.detach().requires_grad_(not wanted or "x" in wanted)
    named: Any = other_norms.affine_of(layer)
    for name, parameter in named.items():
        parameter.grad = None
        parameter.requires_grad_(not wanted or name in wanted)
    y = layer(leaf)
    y.backward(dy)
    found = {"y": y.detach(), "dx": leaf.grad} | {f"d{name}": one.grad for name, one in named.items()}
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        kept = getattr(layer, name, None)
        found[name] = None if kept is None else kept.detach().clone()
    return {name: one for name, one in found.items() if one is not None}


def _bits(found: dict[str, torch.Tensor]) -> dict[str, str]:
    """A digest of every bit of each part, without numpy, which torch need not have."""
    kept = {name: one.cpu().contiguous() for name, one in found.items()}
    return {name: sha256(string_at(one.data_ptr(), one.nbytes)).hexdigest()[:16] for name, one in kept.items()}


def _anew(subject: Subject, norm: Norm) -> dict[str, str]:
    return _bits(_step(norm.layer(subject), norm.x(subject), norm.x(subject, 1)))


def _same(first: dict[str, str], other: dict[str, str]) -> Iterator[Observation]:
    for name, digest in first.items():
        yield Observation(name, "same" if other.get(name) == digest else "different", expected="same")


def _repeated(subject: Subject, *, norm: Norm, repeats: int = 20, cudnn: bool = True) -> Iterator[Observation]:
    """The same step of equal layers, again and again."""
    with precision.cudnn(enabled=cudnn):
        first, *others = (_anew(subject, norm) for _ in range(repeats))
    yield from _same(first, next((one for one in others if one != first), first))


def _trained(subject: Subject, strict: bool) -> dict[str, str]:
    """The digests of a small net of two layers after ten steps of training."""
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(strict)
    try:
        net = [randomize_state(subject.batch_norm(2, 16), seed) for seed in (1, 2)]
        parameters: list[Any] = [one for layer in net for one in layer.parameters()]
        for seed in range(10):
            x = subject.randn(8, 16, 9, 11, seed=seed)
            y = net[1](net[0](x).tanh() * x).sigmoid()
            (y * subject.randn(*y.shape, seed=seed + 50)).sum().backward()
            with torch.no_grad():
                for one in parameters:
                    one.sub_(one.grad, alpha=0.01)
                    one.grad = None
    finally:
        torch.use_deterministic_algorithms(before)
    return _bits({f"{at}.{name}": one for at, layer in enumerate(net) for name, one in layer.state_dict().items()})


def _trainings(subject: Subject, *, strict: bool) -> Iterator[Observation]:
    first, *others = (_trained(subject, strict) for _ in range(20))
    yield from _same(first, next((one for one in others if one != first), first))


def print_digests(device: str, threads: int, warm: str) -> None:
    """Prints the digests of a training and of some steps, as found by a fresh process."""
    import torch

    torch.set_num_threads(threads)
    subject = Subject(device)
    WARM[warm](subject)
    found = _trained(subject, strict=False)
    for norm in STEPS:
        found |= {f"{norm.path}/{name}": one for name, one in _anew(subject, norm).items()}
    print("\n".join(f"{name} {digest}" for name, digest in found.items()))


def _processes(subject: Subject) -> Iterator[Observation]:
    """Compares fresh processes that did other work before."""
    import torch

    def start(warm: str) -> subprocess.Popen[str]:
        threads = torch.get_num_threads()
        program = f"from {__name__} import print_digests as p; p({subject.device!r}, {threads}, {warm!r})"
        return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=os.environ)

    found = []
    for process in [start("nothing"), start("poison")]:
        try:
            printed, _ = process.communicate(timeout=200)
        finally:
            process.kill()
        found.append(dict(line.split() for line in printed.splitlines()))
    yield Observation("processes that ended well", str(sum(map(bool, found))), expected="2")
    apart = sorted(name for name, digest in found[0].items() if found[1].get(name) != digest)
    yield Observation("what differs", " ".join(apart) or "nothing", expected="nothing")


def _poison(subject: Subject) -> None:
    """Memory full of NaN, given back in many sizes: what is read before it is written shows."""
    import torch

    held = [torch.full((2**size + 3,), float("nan"), device=subject.device) for size in range(2, 21)]
    del held


def _normed(subject: Subject) -> None:
    """Other layers, of another size, precision and mode."""
    import torch

    for norm in (Norm("batch_norm", (3, 130, 4, 4)), Norm("batch_norm", (9, 5), training=False)):
        _anew(subject, norm)
        _anew(subject, replace(norm, dtype="bfloat16"))
    with torch.inference_mode():
        subject.batch_norm(2, 7)(subject.randn(3, 7, 4, 4))


#: The work that is done before, by name.
WARM: dict[str, Callable[[Subject], object]] = {
    "nothing": lambda _: None,
    "poison": _poison,
    "matmul": lambda subject: subject.randn(65, 65) @ subject.randn(65, 65),
    "softmax": lambda subject: subject.randn(9, 1000).softmax(1).sort(),
    "norms": _normed,
}


def _warmed(subject: Subject, *, norm: Norm) -> Iterator[Observation]:
    """A step after each warm-up; the input has channels of one value, where a variance may be anything."""

    def run() -> dict[str, str]:
        x = norm.x(subject)
        x[:, 0], x[:, 2] = 3.0, 0.0
        found = _step(norm.layer(subject), x, norm.x(subject, 1))
        finite = all(bool(one.isfinite().all()) for one in found.values())
        return _bits(found) | {"": "finite" if finite else "not finite"}

    first = run()
    yield Observation("values", first[""], expected="finite")
    for name, warm in WARM.items():
        warm(subject)
        seen = run()
        yield Observation(f"after {name}", "same" if seen == first else "different", expected="same")


def _ulps(seen: torch.Tensor, exact: torch.Tensor) -> float:
    """The largest difference in units of the last place of the larger of the element and a thousandth of the usual."""
    import torch

    if seen.shape != exact.shape:
        return BOUNDLESS
    one, other = seen.double(), exact.double()
    usual = other.square().mean().sqrt() / 1000
    unit = torch.exp2(torch.floor(torch.log2(other.abs().clamp_min(usual)))) * torch.finfo(seen.dtype).eps
    worst = ((one - other).abs() / unit).max().item()
    return worst if math.isfinite(worst) else BOUNDLESS


def _invariant(subject: Subject, *, norm: Norm) -> Iterator[Observation]:
    """A sample by itself or with others, in whatever order, forward and back."""
    import torch

    layer, x, dy = norm.layer(subject), norm.x(subject), norm.x(subject, 1)
    whole = _step(layer, x, dy)
    worst = {"y": 0.0, "dx": 0.0}
    for count in (*range(1, 10), 15, 16, 17, 23):
        part = _step(layer, x[:count], dy[:count])
        worst = {name: max(so_far, _ulps(part[name], whole[name][:count])) for name, so_far in worst.items()}
    for name, found in worst.items():
        yield Observation(f"{name}, fewer samples", found, 1.0)
    order = torch.randperm(norm.shape[0], generator=torch.Generator().manual_seed(3)).to(x.device)
    mixed = _step(layer, x[order], dy[order])
    for name in worst:
        yield Observation(f"{name}, another order", _ulps(mixed[name], whole[name][order]), 1.0)


def _subsets(subject: Subject, *, norm: Norm) -> Iterator[Observation]:
    """The gradients asked for are the same whichever others are asked for, and twice the same."""
    import torch

    x, dy = norm.x(subject), norm.x(subject, 1)
    whole = _step(norm.layer(subject), x, dy)
    names = ("x", *other_norms.affine_of(norm.layer(subject)))
    for wanted in (one for size in (1, 2) for one in combinations(names, size)):
        first, second = (_step(norm.layer(subject), x, dy, wanted) for _ in range(2))
        requested = "+".join(wanted)
        yield Observation(
            f"{requested}, repeated", "same" if _bits(first) == _bits(second) else "different", expected="same"
        )
        for name in wanted:
            error = torch.linalg.vector_norm((first[f"d{name}"] - whole[f"d{name}"]).double())
            share = (error / torch.linalg.vector_norm(whole[f"d{name}"].double())).item()
            yield Observation(f"{requested}, d{name}", share, 8 * torch.finfo(x.dtype).eps)


def _blind(subject: Subject, *, norm: Norm) -> Iterator[Observation]:
    """Checks that output and gradients in training don't depend on the running statistics."""

    def run(scale: float) -> dict[str, str]:
        layer = norm.layer(subject)
        layer.get_buffer("running_mean").add_(scale)
        layer.get_buffer("running_var").mul_(scale)
        step = _step(layer, norm.x(subject), norm.x(subject, 1))
        return _bits({name: one for name, one in step.items() if name in {"y", "dx", "dweight", "dbias"}})

    yield from _same(run(1.0), run(2.0))


STEPS = (
    Norm("batch_norm", (1025, 64)),
    Norm("batch_norm", (33, 17, 40)),
    Norm("batch_norm", (5, 65, 11, 9)),
    Norm("batch_norm", (5, 65, 11, 9), layout="channels-last"),
    Norm("batch_norm", (2, 5, 6, 9, 7)),
    Norm("batch_norm", (5, 65, 11, 9), training=False),
    Norm("batch_norm", (5, 65, 11, 9), training=False, layout="channels-last"),
    Norm("batch_norm", (5, 65, 11, 9), dtype="bfloat16"),
    Norm("batch_norm", (5, 65, 11, 9), dtype="float16"),
)
ALL = (*STEPS, Norm("batch_norm", (70001, 3)), Norm("batch_norm", (2, 1, 301, 307)))
SMALL = ((24, 14), (24, 14, 33), (24, 14, 9, 7), (24, 14, 3, 4, 5))

#: A GPU may take another kernel for another number of samples, or for fewer gradients.
FROM_CPU = {"batch": ("*",), "subset": ("*, d*",)}
RULES = {
    "repeat": "the same step gives the same bits again",
    "training": "the same training gives the same bits again",
    "processes": "a fresh process gives the same bits",
    "warm-up": "work done before changes no bit",
    "batch": "the result of a sample does not depend on the others",
    "subset": "a gradient does not depend on which others are requested",
    "blind": "training does not read the running statistics",
}

Entry = tuple[str, Observe, tuple[str, ...]]


def _repeats() -> Iterator[Entry]:
    """Yields each check before it is a case: its name, its function and its rows."""
    for norm in ALL:
        observe = partial(_repeated, norm=norm, repeats=20 if norm in STEPS else 50)
        yield f"repeat/{norm.path}", observe, ("D04",) if norm.training else ("N67",)
    for strict in (True, False):
        yield f"training/{'deterministic' if strict else 'default'}", partial(_trainings, strict=strict), ("D01",)
    yield "processes", _processes, ("D01",)
    for norm in STEPS:
        yield f"warm-up/{norm.path}", partial(_warmed, norm=norm), ("N34",)


def _relations() -> Iterator[Entry]:
    for name in ("batch_norm", *other_norms.KINDS):
        for shape in SMALL if name != "instance_norm" else SMALL[1:]:
            for dtype in ("float32", "bfloat16"):
                alone = Norm(name, shape, training=name != "batch_norm", dtype=dtype)
                yield f"batch/{alone.path}", partial(_invariant, norm=alone), ("D03",)
            norm = Norm(name, shape)
            yield f"subset/{norm.path}", partial(_subsets, norm=norm), ("D02",)
    for layout in ("contiguous", "channels-last"):
        for training in (True, False):
            norm = Norm("batch_norm", (24, 65, 9, 7), training=training, layout=layout)
            yield f"subset/{norm.path}", partial(_subsets, norm=norm), ("D02",)
            if not training:
                yield f"batch/{norm.path}", partial(_invariant, norm=norm), ("D03",)
    for shape in SMALL:
        norm = Norm("batch_norm", shape)
        yield f"blind/{norm.path}", partial(_blind, norm=norm), ()


def cases() -> Iterator[BehaviourCase]:
    """Every check, and on CUDA the repetitions a second time with cuDNN off."""
    native = ((f"repeat/{norm.path}/cudnn=off", partial(_repeated, norm=norm, cudnn=False), ("D04",)) for norm in ALL)
    for entries, gpu_only in ((_repeats(), False), (_relations(), False), (native, True)):
        for name, observe, rows in entries:
            first = name.split("/")[0]
            yield BehaviourCase(
                group="determinism",
                name=name,
                observe=observe,
                rule=RULES[first],
                rows=rows,
                torch_only=any(other in name for other in other_norms.KINDS),
                gpu_only=gpu_only,
                limit_s=240.0 if first == "processes" else 60.0,
                from_cpu=FROM_CPU.get(first, ()),
                quick=not gpu_only and "24x14x9x7/" in name and "bfloat16" not in name,
            )
