"""BIGN, BIGNUMEL: batches and tensors past the sizes where indices and launch grids break."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import BOUNDLESS, CannotLookError, Look, NumericsCase, Observation, Subject
from bnsuite.cases.checks.numerics.eval_backward import lay
from bnsuite.cases.checks.reference import Seen, right, start_of, step_of, unsettle

if TYPE_CHECKING:
    import torch
    from torch import nn

    At = Callable[[torch.Tensor], torch.Tensor]

#: The largest error of any element, as a share of its size or of the usual one: an element that was left out or comes
#: from elsewhere is far beyond, while a sum of a million float32 in one row is not.
LIMITS = {"float32": 2e-3, "float16": 4e-3, "bfloat16": 1.6e-2}


def _backend(cudnn: bool) -> AbstractContextManager[object]:
    import torch

    return torch.backends.cudnn.flags(enabled=cudnn)


def _error(seen: torch.Tensor, exact: torch.Tensor) -> float:
    """The largest error of an element, as a share of its size or of the root mean square of all."""
    if seen.shape != exact.shape:
        return BOUNDLESS
    usual = exact.square().mean().sqrt().clamp_min(1e-300)
    worst = ((seen.double() - exact).abs() / exact.abs().clamp_min(usual)).max().item()
    return worst if math.isfinite(worst) else BOUNDLESS


def _edged(dy: torch.Tensor) -> torch.Tensor:
    """`dy` with the samples beside the edges so large that no sum is right without them."""
    for edge in (0, 65535, 131070, 2**17, dy.shape[0] - 1):
        dy[max(0, edge - 1) : edge + 2] *= dy.shape[0] ** 0.5 / 16
    return dy


def _many(
    subject: Subject, *, shape: tuple[int, ...], training: bool, cudnn: bool, dtype: str = "float32", layout: str = ""
) -> Iterator[Observation]:
    """A step forward and back, every part of it against float64; statistics too."""
    layer = unsettle(subject.batch_norm(max(1, len(shape) - 2), shape[1])).train(training)
    start = start_of(layer)
    x = lay(subject.randn(*shape, dtype=dtype), layout)
    dy = lay(_edged(subject.randn(*shape, seed=1, mean=0.0, dtype=dtype)), layout)
    with _backend(cudnn):
        seen = step_of(layer, x, dy)
    exact = right(start, x, dy, exact=True)
    for part in fields(Seen):
        one, truth = (getattr(side, part.name) for side in (seen, exact))
        if truth is not None:
            limit = 1e-4 if part.name.startswith("running") else LIMITS[dtype]
            yield Observation(part.name, BOUNDLESS if one is None else _error(one, truth), limit)


@dataclass(frozen=True)
class Norm:
    """Another norm on an input of many samples; statistics are over `groups` equal parts of each sample."""

    name: str
    shape: tuple[int, ...]
    groups: int

    def layer(self) -> nn.Module:
        from torch import nn

        if self.name == "layer_norm":
            return nn.LayerNorm(self.shape[1:])
        if self.name == "group_norm":
            return nn.GroupNorm(self.groups, self.shape[1])
        return nn.InstanceNorm1d(self.shape[1], affine=True)

    def right(self, x: torch.Tensor, layer: nn.Module) -> torch.Tensor:
        """The output for `x`, in its precision."""
        parts = x.reshape(x.shape[0], self.groups, -1)
        away = parts - parts.mean(2, keepdim=True)
        y = (away / (away.square().mean(2, keepdim=True) + 1e-5).sqrt()).view(x.shape)
        weight, bias = (layer.get_parameter(name).to(x.dtype) for name in ("weight", "bias"))
        if self.name == "layer_norm":
            return y * weight + bias
        shape = (-1, *[1] * (x.dim() - 2))
        return y * weight.view(shape) + bias.view(shape)


def _norms(subject: Subject, *, norm: Norm) -> Iterator[Observation]:
    """A step forward and back of another norm, against float64."""
    import torch

    layer = unsettle(norm.layer()).to(subject.device)
    dy = subject.randn(*norm.shape, seed=1)
    found: list[list[torch.Tensor]] = []
    for exact in (False, True):
        leaf = subject.randn(*norm.shape, dtype="float64" if exact else "float32").requires_grad_()
        y = norm.right(leaf, layer) if exact else layer(leaf)
        wanted = (leaf, layer.get_parameter("weight"), layer.get_parameter("bias"))
        found.append([y.detach(), *torch.autograd.grad(y, wanted, dy.to(y.dtype))])
    for name, one, truth in zip(("y", "dx", "dweight", "dbias"), *found, strict=True):
        yield Observation(name, _error(one, truth.double()), LIMITS["float32"])


def _available(device: str) -> int:
    """Bytes of free memory."""
    import torch

    if device != "cpu":
        return int(torch.cuda.mem_get_info(device)[0])
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), 0)


def _room(device: str, tensors: int, numel: int) -> None:
    """CannotLookError unless there is room for so many half precision tensors and some more."""
    needed = (tensors * 2 * numel * (1 if device != "cpu" else 2)) + 6 * 2**30
    if _available(device) < needed:
        raise CannotLookError(f"needs {needed / 2**30:.0f} GiB of free memory")


def _filled(subject: Subject, shape: tuple[int, ...], layout: str, seed: int) -> torch.Tensor:
    """Half precision numbers, no two rows alike and no two columns, without a second tensor of their size."""
    import torch

    kind = torch.channels_last if layout == "channels-last" else torch.contiguous_format
    made = torch.empty(shape, dtype=torch.float16, device=subject.device, memory_format=kind)
    flat = made.permute(0, 2, 3, 1) if layout == "channels-last" else made
    rows = shape[0] if shape[0] > 1 else shape[2]
    flat = flat.reshape(rows, -1)
    assert flat.data_ptr() == made.data_ptr()
    flat.copy_(subject.randn(flat.shape[1], seed=seed, mean=0.25, std=1.0))
    flat.add_(subject.randn(rows, 1, seed=seed + 100, mean=0.25, std=1.0, dtype="float16"))
    return made


@dataclass(frozen=True)
class _Slabs:
    """A tensor too large for a copy in double precision, some samples or rows at a time."""

    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Values a channel."""
        return math.prod(self.shape) // self.shape[1]

    def at(self) -> Iterator[At]:
        """For each part of the whole, what gives that part of a tensor."""
        axis = 0 if self.shape[0] > 1 else 2
        step = max(1, 2**26 * self.shape[axis] // math.prod(self.shape))
        for first in range(0, self.shape[axis], step):
            length = min(step, self.shape[axis] - first)
            yield lambda tensor, first=first, length=length: tensor.narrow(axis, first, length).double()  # type: ignore[misc]

    def wide(self, by_channel: torch.Tensor) -> torch.Tensor:
        """(C,) as it goes with a part."""
        return by_channel.double().view(1, -1, *[1] * (len(self.shape) - 2))

    def mean(self, of: Callable[[At], torch.Tensor]) -> torch.Tensor:
        """The mean of each channel."""
        import torch

        axes = [axis for axis in range(len(self.shape)) if axis != 1]
        return torch.stack([of(at).sum(axes) for at in self.at()]).sum(0) / self.count

    def worst(self, of: Callable[[At], tuple[torch.Tensor, torch.Tensor]]) -> float:
        """The largest difference of two, as a share of the second one's size where that is above 1."""
        found = 0.0
        for at in self.at():
            one, other = of(at)
            error = ((one - other).abs() / other.abs().clamp_min(1.0)).max().item()
            found = max(found, error if math.isfinite(error) else BOUNDLESS)
        return found


def _huge(
    subject: Subject, *, shape: tuple[int, ...], training: bool, layout: str = "contiguous", cudnn: bool = True
) -> Iterator[Observation]:
    """A step forward and back on a half precision tensor, compared in float64, some samples or rows at a time."""
    _room(subject.device, 4, math.prod(shape))
    layer = unsettle(subject.batch_norm(max(1, len(shape) - 2), shape[1])).train(training)
    start: Any = start_of(layer)
    x, dy = (_filled(subject, shape, layout, seed) for seed in (0, 1))
    with _backend(cudnn):
        seen: Any = step_of(layer, x, dy)
    y, dx = seen.y, seen.dx
    slabs = _Slabs(shape)
    mean, var = start.running_mean, start.running_var
    weight, bias = start.weight, start.bias
    if training:
        old, mean = mean, slabs.mean(lambda at: at(x))
        yield Observation("running_mean", (seen.running_mean - 0.9 * old - 0.1 * mean).abs().max().item(), 1e-3)
        old, var = var, slabs.mean(lambda at: (at(x) - slabs.wide(mean)).square())
        unbiased = var * slabs.count / (slabs.count - 1)
        yield Observation("running_var", (seen.running_var - 0.9 * old - 0.1 * unbiased).abs().max().item(), 1e-3)
    mean, invstd, weight, bias = (slabs.wide(one) for one in (mean, (var.double() + 1e-5).rsqrt(), weight, bias))
    share = slabs.mean(lambda at: at(dy))
    along = slabs.mean(lambda at: at(dy) * (at(x) - mean) * invstd)
    yield Observation("dbias", (seen.dbias / slabs.count - share).abs().max().item(), 1e-3)
    yield Observation("dweight", (seen.dweight / slabs.count - along).abs().max().item(), 1e-3)
    yield Observation("y", slabs.worst(lambda at: (at(y), (at(x) - mean) * invstd * weight + bias)), 2e-3)
    kept = 1.0 if training else 0.0
    share, along = (kept * slabs.wide(one) for one in (share, along))

    def dx_of(at: At) -> tuple[torch.Tensor, torch.Tensor]:
        right_one = at(dy) - share - (at(x) - mean) * invstd * along
        return at(dx) / (invstd * weight), right_one

    yield Observation("dx", slabs.worst(dx_of), 2e-3)


def _huge_norm(subject: Subject, *, norm: Norm) -> Iterator[Observation]:
    """The output of another norm on a half precision tensor, some samples at a time."""
    import torch

    _room(subject.device, 2, math.prod(norm.shape))
    layer = norm.layer().to(subject.device).half()
    x = _filled(subject, norm.shape, "contiguous", 0)
    with torch.no_grad():
        y = layer(x)
        slabs = _Slabs(norm.shape)
        yield Observation("y", slabs.worst(lambda at: (at(y), norm.right(at(x), layer))), 4e-3)


SIZES = (65535, 65536, 65537, 131070, 131071, 2**20)
PAST = (65536, 131071, 200000)
RULE = "a size past where indices or launch grids break is computed like any other"
NORMS = (
    Norm("layer_norm", (65537, 16), 1),
    Norm("layer_norm", (2**17 + 1, 12), 1),
    Norm("group_norm", (65537, 16), 2),
    Norm("group_norm", (65537, 4, 6), 2),
    Norm("instance_norm", (65537, 2, 12), 2),
    Norm("instance_norm", (3, 65537, 12), 65537),
)
HUGE: dict[str, tuple[int, ...]] = {
    "2e31": (2**13 + 1, 16, 128, 128),
    "2e32": (2**14 + 1, 16, 128, 128),
    "2e31-in-a-channel": (1, 1, 2**15, 2**16 + 1),
    "2e31-in-rows": (2**27 + 1, 16),
    "2e31-in-channels": (2**11 + 1, 2**20),
}
HUGE_NORMS = (
    Norm("layer_norm", (2**21 + 1, 1024), 1),
    Norm("layer_norm", (2**22 + 1, 1024), 1),
    Norm("group_norm", (2**17 + 1, 32, 512), 8),
    Norm("instance_norm", (2**17 + 1, 32, 512), 32),
)
EVALUATED = ("N58", "N59", "N60", "N61")

Entry = tuple[str, Look, tuple[str, ...]]


def _entries(cudnn: bool) -> Iterator[Entry]:
    """BIGN's checks before they are cases: name, look and rows."""
    for training in (True, False):
        mode = "train" if training else "eval"
        rows = ("N57",) if training else EVALUATED
        look = partial(_many, training=training, cudnn=cudnn)
        for n in SIZES:
            for inner in ((3,), (2, 1, 1)) if n == 2**20 else ((3,), (3, 2), (2, 1, 1), (2, 1, 2), (2, 1, 1, 1)):
                yield f"n={n}/{'x'.join(map(str, inner))}/{mode}", partial(look, shape=(n, *inner)), rows
        for dtype in ("float16", "bfloat16"):
            for n in PAST:
                yield f"n={n}/{dtype}/{mode}", partial(look, shape=(n, 3), dtype=dtype), rows
        yield f"n=65537/channels-last/{mode}", partial(look, shape=(65537, 4, 2, 2), layout="channels-last"), rows
        for channels in (65535, 65536, 65537, 131072):
            for size in ((12, channels), (3, channels, 4), (12, channels, 1, 1)):
                yield f"c={channels}/{len(size)}-axes/{mode}", partial(look, shape=size), ()
        shapes: tuple[tuple[int, ...], ...]
        shapes = ((1, 2, 2**20 + 1), (2, 2, 65537, 1), (2, 2, 1, 65537), (1, 1, 1025, 1025), (1, 2, 65537, 2, 2))
        for shape in shapes:
            yield f"extent/{'x'.join(map(str, shape))}/{mode}", partial(look, shape=shape), ()


def cases() -> Iterator[NumericsCase]:
    """Every check; on CUDA the batches a second time with cuDNN off, and the tensors no CPU is asked to hold."""
    for cudnn in (True, False):
        for name, look, rows in _entries(cudnn):
            yield NumericsCase(
                group="BIGN",
                name=name if cudnn else f"{name}/cudnn=off",
                look=look,
                rule=RULE,
                rows=rows,
                gpu_only=not cudnn,
                quick=cudnn and name in {"n=65537/3/train", "n=65537/3/eval", "n=65536/2x1x1/eval"},
            )
    for norm in NORMS:
        name = f"{norm.name}/{'x'.join(map(str, norm.shape))}"
        yield NumericsCase(
            group="BIGN", name=name, look=partial(_norms, norm=norm), rule=RULE, torch_only=True, quick=False
        )
    huge = partial(NumericsCase, group="BIGNUMEL", rule=RULE, gpu_only=True, quick=False, limit_s=600.0)
    for size, shape in HUGE.items():
        for training in (True, False):
            for cudnn in (True, False):
                name = f"{size}/{'train' if training else 'eval'}{'' if cudnn else '/cudnn=off'}"
                yield huge(name=name, look=partial(_huge, shape=shape, training=training, cudnn=cudnn))
    last = partial(_huge, shape=HUGE["2e31"], training=True, layout="channels-last")
    yield huge(name="2e31/train/channels-last", look=last)
    for norm in HUGE_NORMS:
        name = f"{norm.name}/{'x'.join(map(str, norm.shape))}"
        yield huge(name=name, look=partial(_huge_norm, norm=norm), rows=("N63",), torch_only=True)
