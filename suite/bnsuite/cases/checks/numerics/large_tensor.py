"""Family ``large-tensor``: tensors of more elements than 32 bits count.

Each check has a process of its own: an index that overflows may end it, or go round for ever. cuDNN has no part in
them: torch takes its native kernels for as many elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import BOUNDLESS, CheckNotApplicableError, NumericsCase, Observation, Subject
from bnsuite.cases.checks.material.arithmetic import layer_step, randomize_state, state_of
from bnsuite.cases.checks.material.other_norms import Norm
from bnsuite.cases.checks.numerics.large_batch import RULE

if TYPE_CHECKING:
    import torch

    At = Callable[[torch.Tensor], torch.Tensor]

#: Seconds that a check may take in its process: a loop whose index overflows never ends.
CHILD_S = 100.0
#: The same with the start and the end of the process.
LIMIT_S = 180.0
HUGE: dict[str, tuple[int, ...]] = {
    "2e31": (2**13 + 1, 16, 128, 128),
    "2e32": (2**14 + 1, 16, 128, 128),
    "2e31-in-a-channel": (1, 1, 2**15, 2**16 + 1),
    "2e31-in-rows": (2**27 + 1, 16),
    "2e31-in-channels": (2**11 + 1, 2**20),
}
HUGE_NORMS = (
    Norm("layer_norm", (2**21 + 1, 1024)),
    Norm("layer_norm", (2**22 + 1, 1024)),
    Norm("group_norm", (2**17 + 1, 32, 512), groups=8),
    Norm("instance_norm", (2**17 + 1, 32, 512)),
)


def _available(device: str) -> int:
    """Bytes of free memory: on a GPU with what this process holds and does not use."""
    import torch

    if device != "cpu":
        torch.cuda.empty_cache()
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), 0)


def _room(device: str, tensors: int, numel: int) -> None:
    """Raises CheckNotApplicableError unless there is memory for `tensors` half precision tensors and a reserve."""
    needed = (tensors * 2 * numel * (1 if device != "cpu" else 2)) + 6 * 2**30
    if _available(device) < needed:
        raise CheckNotApplicableError(f"needs {needed / 2**30:.0f} GiB of free memory")


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
        """Yields functions that return one part of a tensor each."""
        axis = 0 if self.shape[0] > 1 else 2
        step = max(1, 2**26 * self.shape[axis] // math.prod(self.shape))
        for first in range(0, self.shape[axis], step):
            length = min(step, self.shape[axis] - first)
            yield lambda tensor, first=first, length=length: tensor.narrow(axis, first, length).double()  # type: ignore[misc]

    def wide(self, by_channel: torch.Tensor) -> torch.Tensor:
        """Returns a tensor (C,) in a shape that broadcasts with a part."""
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
    subject: Subject, *, shape: tuple[int, ...], training: bool, layout: str = "contiguous"
) -> Iterator[Observation]:
    """A step forward and back on a half precision tensor, compared in float64, some samples or rows at a time."""
    _room(subject.device, 4, math.prod(shape))
    layer = randomize_state(subject.batch_norm(max(1, len(shape) - 2), shape[1])).train(training)
    start: Any = state_of(layer)
    x, dy = (_filled(subject, shape, layout, seed) for seed in (0, 1))
    seen: Any = layer_step(layer, x, dy)
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
        yield Observation("y", slabs.worst(lambda at: (at(y), norm.reference_step(at(x), layer))), 4e-3)


def cases() -> Iterator[NumericsCase]:
    """Yields the checks on tensors that are too large for a CPU."""
    huge = partial(
        NumericsCase, group="large-tensor", rule=RULE, gpu_only=True, quick=False, child_s=CHILD_S, limit_s=LIMIT_S
    )
    for size, shape in HUGE.items():
        for training in (True, False):
            name = f"{size}/{'train' if training else 'eval'}"
            yield huge(name=name, observe=partial(_huge, shape=shape, training=training))
    last = partial(_huge, shape=HUGE["2e31"], training=True, layout="channels-last")
    yield huge(name="2e31/train/channels-last", observe=last)
    for norm in HUGE_NORMS:
        name = f"{norm.kind}/{'x'.join(map(str, norm.shape))}"
        yield huge(name=name, observe=partial(_huge_norm, norm=norm), rows=("N63",), torch_only=True)
