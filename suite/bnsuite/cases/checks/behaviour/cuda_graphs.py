"""Family ``cuda-graphs``: CUDA-graph capture and replay."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases import gpu_errors, precision
from bnsuite.cases.checks.case import BOUNDLESS, BehaviourCase, CheckNotApplicableError, Observation, Subject
from bnsuite.cases.checks.material.arithmetic import (
    LIMIT,
    StepResult,
    compare,
    error_ratio,
    randomize_state,
    reference_step,
    state_of,
    step_against_float64,
)
from bnsuite.cases.checks.material.states import BUFFERS

if TYPE_CHECKING:
    import torch
    from torch import nn

SHAPES: dict[str, tuple[int, ...]] = {
    "1d": (32, 65),
    "1d+places": (8, 65, 9),
    "2d": (8, 65, 7, 6),
    "3d": (4, 65, 3, 4, 5),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "affine=off": {"affine": False},
    "tracking=off": {"track_running_stats": False},
}
WARM_UP, REPLAYS = 3, 10


@dataclass(frozen=True)
class Setting:
    """The captured work: a layer with its `options` on an input of `shape`."""

    shape: tuple[int, ...]
    training: bool
    options: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    channels_last: bool = False
    cudnn: bool = True

    @property
    def dimensions(self) -> int:
        return max(1, len(self.shape) - 2)

    def tensors(self, subject: Subject, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """An input and an incoming gradient."""
        import torch

        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        layout = formats[len(self.shape)] if self.channels_last else torch.contiguous_format
        seeds = (2 * seed, 2 * seed + 1)
        x, dy = (subject.randn(*self.shape, seed=one, dtype=self.dtype) for one in seeds)
        return x.contiguous(memory_format=layout), dy.contiguous(memory_format=layout)


class CapturedStep:
    """A forward and backward pass of a layer as a CUDA graph, from and into memory that stays where it is.

    A layer in a group of processes waits for the device on purpose unless it is captured, and the group has a thread
    that works meanwhile.
    """

    def __init__(self, layer: nn.Module, x: torch.Tensor, dy: torch.Tensor, *, grouped: bool) -> None:
        import torch

        self._layer, self._x, self._dy = layer, x, dy
        weights = copy.deepcopy(layer.state_dict())
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._step()
        torch.cuda.current_stream().wait_stream(side)
        self.waits = not grouped and _waits_for_device(self._step)
        layer.load_state_dict(weights)
        for parameter in layer.parameters():
            parameter.grad = None
        self._graph: Any = None
        if not self.waits:
            self._graph = torch.cuda.CUDAGraph()
            # captured work does not run yet: the state stays as it is
            with _captured(self._graph, capture_error_mode="thread_local" if grouped else "global"):
                self._y, self._leaf = self._step()

    def _step(self) -> tuple[torch.Tensor, torch.Tensor]:
        leaf = self._x.detach().requires_grad_()
        y = self._layer(leaf)
        y.backward(self._dy)
        return y, leaf

    def replay(self, x: torch.Tensor, dy: torch.Tensor) -> StepResult:
        import torch

        self._x.copy_(x)
        self._dy.copy_(dy)
        self._graph.replay()
        torch.cuda.synchronize()

        def kept(name: str, *, grad: bool = False) -> torch.Tensor | None:
            found = getattr(self._layer, name, None)
            found = found.grad if grad and found is not None else found
            return None if found is None else found.detach().clone()

        assert self._leaf.grad is not None
        return StepResult(
            y=self._y.detach().clone(),
            dx=self._leaf.grad.clone(),
            dweight=kept("weight", grad=True),
            dbias=kept("bias", grad=True),
            running_mean=kept("running_mean"),
            running_var=kept("running_var"),
        )


@contextmanager
def _captured(graph: Any, **options: Any) -> Iterator[None]:
    """``torch.cuda.graph``, which by itself stays in the stream of a capture that fails."""
    import torch

    before = torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph, **options):
            yield
    finally:
        torch.cuda.set_stream(before)


def _waits_for_device(step: Callable[[], Any]) -> bool:
    """Returns True if a step waits for the device."""
    import torch

    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        return True
    finally:
        torch.cuda.set_sync_debug_mode(before)
    return False


def _need_cuda(subject: Subject) -> None:
    import torch

    if torch.device(subject.device).type != "cuda":
        raise CheckNotApplicableError("the device captures no graphs")


def _replays(subject: Subject, *, setting: Setting) -> Iterator[Observation]:
    """Compares replays on new data with float64, and the state they leave with that of eager steps."""
    import torch

    _need_cuda(subject)
    for name, options in OPTIONS.items():
        of = replace(setting, options=options)
        layer = randomize_state(subject.batch_norm(of.dimensions, of.shape[1], **options)).train(of.training)
        with torch.cuda.device(subject.device), precision.cudnn(enabled=of.cudnn):
            found = list(_compared(subject, layer, of))
        yield from (replace(one, what=f"{name}/{one.what}") for one in found)


def _compared(subject: Subject, layer: nn.Module, of: Setting, *, grouped: bool = False) -> Iterator[Observation]:
    twin = copy.deepcopy(layer)
    try:
        captured = CapturedStep(layer, *of.tensors(subject, 0), grouped=grouped)
    except RuntimeError as error:
        gpu_errors.note(error)
        yield Observation("capture", type(error).__name__, expected="captured")
        return
    yield Observation("capture", "waits for the device" if captured.waits else "captured", expected="captured")
    if captured.waits:
        return
    worst: dict[str, float] = {}
    for seed in range(1, REPLAYS + 1):
        x, dy = of.tensors(subject, seed)
        start = state_of(layer)
        seen = captured.replay(x, dy)
        for told in compare(seen, *(reference_step(start, x, dy, exact=exact) for exact in (True, False))):
            far = told.value if isinstance(told.value, float) else BOUNDLESS
            worst[told.what] = max(worst.get(told.what, 0.0), far)
        twin(x.detach().requires_grad_()).backward(dy)
    for part, far in worst.items():
        yield Observation(part, far, LIMIT)
    for name in BUFFERS:
        one, eager = (getattr(side, name, None) for side in (layer, twin))
        if one is None or eager is None:
            yield Observation(f"{name} in the end", "none" if one is eager else "missing", expected="none")
        elif name == "num_batches_tracked":
            yield Observation(f"{name} in the end", str(int(one)), expected=str(int(eager)))
        else:
            yield Observation(f"{name} in the end", error_ratio(one, eager, eager), LIMIT)


def _waits(subject: Subject, *, shape: tuple[int, ...], momentum: float | None) -> Iterator[Observation]:
    """Checks that a call does not wait for the device; a cumulative average does, since it divides on the host."""
    import torch

    _need_cuda(subject)
    for training, grad in product((True, False), repeat=2):
        layer = subject.batch_norm(max(1, len(shape) - 2), shape[1], momentum=momentum).train(training)
        x, dy = (subject.randn(*shape, seed=seed) for seed in (0, 1))

        def step(layer: nn.Module = layer, grad: bool = grad, x: Any = x, dy: Any = dy) -> None:
            with torch.set_grad_enabled(grad):
                y = layer(x)
            if grad:
                y.backward(dy)

        with torch.cuda.device(subject.device):
            for _ in range(WARM_UP):
                step()
            word = "waits" if _waits_for_device(step) else "goes on"
        what = f"{'train' if training else 'eval'}/{'forward+backward' if grad else 'forward'}"
        yield Observation(what, word, expected=None if momentum is None else "goes on")


def _callable(subject: Subject, *, shape: tuple[int, ...], training: bool) -> Iterator[Observation]:
    """Torch's own capture of a module's passes."""
    import torch

    _need_cuda(subject)
    of = Setting(shape, training)
    layer = randomize_state(subject.batch_norm(of.dimensions, shape[1])).train(training)
    weights = copy.deepcopy(layer.state_dict())
    with torch.cuda.device(subject.device):
        sample = of.tensors(subject, 0)[0].requires_grad_()
        graphed: Any = torch.cuda.make_graphed_callables(layer, (sample,))
        layer.load_state_dict(weights)  # its warm-up moved the statistics
        for seed in range(1, 4):
            yield from step_against_float64(graphed, *of.tensors(subject, seed), prefix=f"{seed}/")


def _synchronised(subject: Subject, *, shape: tuple[int, ...], channels_last: bool) -> Iterator[Observation]:
    """SyncBatchNorm's own passes, in a group of one, which alone decides nothing but is captured alike."""
    import torch
    from torch import nn

    dist: Any = torch.distributed
    _need_cuda(subject)
    if not (dist.is_available() and dist.is_nccl_available()):
        raise CheckNotApplicableError("torch has no NCCL")
    if dist.is_initialized():
        raise CheckNotApplicableError("this process is in a group already")
    from torch.nn.modules._functions import SyncBatchNorm

    with torch.cuda.device(subject.device):
        dist.init_process_group("nccl", store=dist.HashStore(), rank=0, world_size=1)
        try:
            layer: Any = randomize_state(nn.SyncBatchNorm(shape[1]).to(subject.device))

            class Alone(nn.Module):
                """The layer as it is among others."""

                def __init__(self) -> None:
                    super().__init__()
                    for name in ("weight", "bias"):
                        self.register_parameter(name, getattr(layer, name))
                    for name in BUFFERS:
                        self.register_buffer(name, getattr(layer, name))

                def forward(self, x: torch.Tensor) -> Any:
                    self.num_batches_tracked.add_(1)  # type: ignore[operator]
                    own = (self.weight, self.bias, self.running_mean, self.running_var)
                    return SyncBatchNorm.apply(x, *own, 1e-5, 0.1, dist.group.WORLD, 1)

            of = Setting(shape, training=True, channels_last=channels_last)
            found = list(_compared(subject, Alone(), of, grouped=True))
        finally:
            dist.destroy_process_group()
    yield from found


def cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="cuda-graphs", gpu_only=True)
    rule = "a replayed graph gives the results of eager steps, and no call waits for the device"
    for (name, shape), training, dtype in product(SHAPES.items(), (True, False), ("float32", "float16", "bfloat16")):
        for channels_last, cudnn in product((False, True) if len(shape) > 3 else (False,), (True, False)):
            suffix = f"{'/channels-last' if channels_last else ''}{'' if cudnn else '/cudnn=off'}"
            setting = Setting(shape, training, dtype=dtype, channels_last=channels_last, cudnn=cudnn)
            yield case(
                name=f"batch_norm{name}/{'train' if training else 'eval'}/{dtype}{suffix}",
                observe=partial(_replays, setting=setting),
                rule=rule,
                quick=name == "2d" and dtype == "float32" and cudnn,
            )
    for name, shape in SHAPES.items():
        for momentum in (0.1, None):
            yield case(
                name=f"batch_norm{name}/waits/momentum={momentum}".lower(),
                observe=partial(_waits, shape=shape, momentum=momentum),
                rule="no call waits for the device, except where accepted",
                quick=name == "2d",
            )
        for training in (True, False):
            yield case(
                name=f"batch_norm{name}/callable/{'train' if training else 'eval'}",
                observe=partial(_callable, shape=shape, training=training),
                rule="a graphed layer computes what the layer does",
            )
        for channels_last in (False, True) if len(shape) > 3 else (False,):
            yield case(
                name=f"sync_batch_norm{name}/{'channels-last' if channels_last else 'contiguous'}",
                observe=partial(_synchronised, shape=shape, channels_last=channels_last),
                rule=rule,
                rows=("A15",),
                torch_only=True,
            )
