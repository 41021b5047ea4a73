"""Family ``autocast``: autocast and loss scaling."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases import gpu_errors
from bnsuite.cases.checks.case import BehaviourCase, Observation, Subject
from bnsuite.cases.checks.material.arithmetic import compare, layer_step, randomize_state, reference_step, state_of
from bnsuite.cases.checks.material.states import STATISTICS

if TYPE_CHECKING:
    import torch
    from torch import nn

CHANNELS = 6
SHAPES: dict[str, tuple[int, ...]] = {
    "1d": (12, CHANNELS),
    "1d+places": (6, CHANNELS, 5),
    "2d": (5, CHANNELS, 3, 4),
    "3d": (4, CHANNELS, 2, 3, 3),
}
HALVES = ("bfloat16", "float16")
#: Faults of a batch, and the scale of the loss that makes gradients overflow.
SPOILED = ("inf", "-inf", "nan", "one-channel-inf", "one-channel-nan", "too-large")
TOO_MUCH = 2.0**80
#: Steps in which running statistics may recover: one value among 2^12 has no effect by then.
STEPS = 60


def _word(finite: bool) -> str:
    return "finite" if finite else "not finite"


def _autocast(subject: Subject, half: str) -> Any:
    import torch

    return torch.autocast(torch.device(subject.device).type, dtype=getattr(torch, half))


def _dimensions(shape: tuple[int, ...]) -> int:
    return max(1, len(shape) - 2)


def _step(
    subject: Subject, *, shape: tuple[int, ...], half: str, given: str, training: bool, channels_last: bool
) -> Iterator[Observation]:
    """Runs a step under autocast by every setting: it is as exact as its input allows, and keeps its precision."""
    import torch

    for affine, tracked in product((True, False), repeat=2):
        options = {"affine": affine, "track_running_stats": tracked}
        layer = randomize_state(subject.batch_norm(_dimensions(shape), CHANNELS, **options)).train(training)
        x, dy = (subject.randn(*shape, seed=seed, dtype=given) for seed in (0, 1))
        if channels_last:
            x, dy = (one.contiguous(memory_format=torch.channels_last) for one in (x, dy))
        what = f"affine={_on(affine)}/tracking={_on(tracked)}"
        start = state_of(layer)
        try:
            with _autocast(subject, half):
                seen = _backward_outside(layer, x, dy)
        except Exception as error:  # noqa: BLE001  # whatever it raises is what is looked at
            gpu_errors.note(error)
            yield Observation(f"{what}/outcome", type(error).__name__, expected="returned")
            continue
        yield Observation(f"{what}/outcome", "returned", expected="returned")
        y: Any = seen.y
        yield Observation(f"{what}/dtype", str(y.dtype).removeprefix("torch."))
        yield from compare(seen, *_both(start, x, dy, y.dtype), prefix=f"{what}/")
        dtypes = {str(one.dtype) for name, one in layer.state_dict().items() if name != "num_batches_tracked"}
        yield Observation(f"{what}/state", "+".join(dtypes) or "none", expected=_float32(affine or tracked))
        if tracked:
            counted = layer.state_dict()["num_batches_tracked"]
            yield Observation(f"{what}/counted", str(int(counted)), expected=str(int(training)))


def _float32(any_: bool) -> str:
    return "torch.float32" if any_ else "none"


def _on(flag: bool) -> str:
    return "on" if flag else "off"


def _both(start: Any, x: torch.Tensor, dy: torch.Tensor, dtype: torch.dtype) -> Iterator[Any]:
    """Yields the reference steps in float64 and in rounded arithmetic, for an output of `dtype`."""
    for exact in (True, False):
        seen = reference_step(start, x, dy, exact=exact)
        if not exact and seen.y is not None:
            seen.y = seen.y.to(dtype)
        yield seen


def _backward_outside(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor) -> Any:
    """A step of `layer`; its gradient comes in the precision of its output."""

    class Cast:
        """The layer with an output in the precision of its input, so that gradients fit."""

        training = layer.training

        def __call__(self, given: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = layer(given)
            self.y = y
            return y.to(dy.dtype)

        def __getattr__(self, name: str) -> Any:
            return getattr(layer, name)

    cast: Any = Cast()
    seen = layer_step(cast, x, dy)
    seen.y = cast.y.detach()
    return seen


def _net(subject: Subject, dimensions: int, **options: Any) -> tuple[nn.Module, nn.Module]:
    """A convolution, the layer and a head; and the layer."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    conv: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    layer = randomize_state(subject.batch_norm(dimensions, CHANNELS, **options))
    net = nn.Sequential(
        conv(CHANNELS, CHANNELS, 3, padding=1), layer, nn.ReLU(), nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten()
    )
    return net.to(subject.device), layer


def _block(subject: Subject, *, shape: tuple[int, ...], half: str) -> Iterator[Observation]:
    """Runs the layer in each mode after a convolution, whose output is in half precision."""
    for affine, tracked, training in product((True, False), repeat=3):
        net, layer = _net(subject, _dimensions(shape), affine=affine, track_running_stats=tracked)
        net.train(training)
        caught: dict[str, torch.Tensor] = {}

        def keep(_: nn.Module, given: Any, y: torch.Tensor, caught: dict[str, torch.Tensor] = caught) -> None:
            caught.update(x=given[0].detach(), y=y.detach())

        layer.register_forward_hook(keep)
        what = f"{'train' if training else 'eval'}/affine={_on(affine)}/tracking={_on(tracked)}"
        start = state_of(layer)
        try:
            with _autocast(subject, half):
                loss = net(subject.randn(*shape)).float().square().mean()
            loss.backward()
        except Exception as error:  # noqa: BLE001  # whatever it raises is what is looked at
            gpu_errors.note(error)
            yield Observation(f"{what}/outcome", type(error).__name__, expected="returned")
            continue
        yield Observation(f"{what}/outcome", "returned", expected="returned")
        yield Observation(f"{what}/given", str(caught["x"].dtype), expected=f"torch.{half}")
        exact, rounded = (reference_step(start, caught["x"], None, exact=one) for one in (True, False))
        seen = copy.copy(exact)
        seen.y = caught["y"]
        for name in STATISTICS:
            found = getattr(layer, name, None)
            setattr(seen, name, None if found is None else found.detach().clone())
        yield from compare(seen, exact, rounded, prefix=f"{what}/")
        gradients = [one.grad for one in net.parameters() if one.grad is not None]
        finite = all(bool(one.isfinite().all()) for one in gradients)
        yield Observation(f"{what}/gradients", _word(finite), expected="finite")


def _spoil(x: torch.Tensor, how: str) -> torch.Tensor:
    x = x.clone()
    value = 1e30 if how == "too-large" else float(how.removeprefix("one-channel-"))
    if how.startswith("one-channel"):
        x[0, 0] = value
    else:
        x[0] = value
    return x


def _overflow(subject: Subject, *, dimensions: int, how: str, momentum: float | None) -> Iterator[Observation]:
    """Runs one batch that is not finite; its effect on the running statistics is accepted in the baseline.

    It may affect no other channel.
    """
    import torch

    layer = randomize_state(subject.batch_norm(dimensions, CHANNELS, momentum=momentum))
    shape = SHAPES[f"{dimensions}d"]
    layer(subject.randn(*shape))
    layer(_spoil(subject.randn(*shape, seed=1), how))
    for when in ("at once", "in the end"):
        for name in STATISTICS:
            found: Any = getattr(layer, name)
            yield Observation(f"{when}/{name}", _word(bool(torch.isfinite(found[:1]).all())))
            if how.startswith("one-channel"):
                others = _word(bool(torch.isfinite(found[1:]).all()))
                yield Observation(f"{when}/{name} of others", others, expected="finite")
        for seed in range(STEPS if when == "at once" else 0):
            layer(subject.randn(*shape, seed=2 + seed))


def _scaled(subject: Subject, *, dimensions: int, half: str, how: str) -> Iterator[Observation]:
    """Trains under autocast with a loss scaler, which skips the one step that overflows.

    With "gradients" the loss is too large for them, and the batch itself is an ordinary one.
    """
    import torch

    net, layer = _net(subject, dimensions)
    optimizer = torch.optim.SGD(net.parameters(), 1e-3)
    kind = torch.device(subject.device).type
    scaler = torch.amp.GradScaler(kind, init_scale=2.0**8, growth_interval=1000)
    shape = SHAPES[f"{dimensions}d"] if dimensions > 1 else SHAPES["1d+places"]
    state: dict[str, torch.Tensor] = {}
    for number in range(6):
        at_fault = number == 3
        x = subject.randn(*shape, seed=number)
        optimizer.zero_grad()
        before = copy.deepcopy(net.state_dict())
        with _autocast(subject, half):
            y = net(_spoil(x, how) if at_fault and how != "gradients" else x).float()
        loss = y.square().mean() * (TOO_MUCH * TOO_MUCH if at_fault and how == "gradients" else 1.0)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        state = net.state_dict()
        moved = any(not torch.equal(before[name], one) for name, one in state.items() if name.endswith("weight"))
        yield Observation(
            f"{number}/parameters", "moved" if moved else "skipped", expected=_skipped(at_fault, how, number)
        )
        finite = all(bool(one.isfinite().all()) for name, one in net.named_parameters())
        yield Observation(f"{number}/parameters are", _word(finite), expected="finite")
        for name in STATISTICS:
            word = _word(bool(getattr(layer, name).isfinite().all()))
            yield Observation(f"{number}/{name}", word, expected="finite" if how == "gradients" or number < 3 else None)
        counted = str(int(state["1.num_batches_tracked"]))
        yield Observation(f"{number}/counted", counted, expected=str(number + 1))
    net.eval()
    with _autocast(subject, half):
        y = net(subject.randn(*shape))
    due = "finite" if how == "gradients" else None
    yield Observation("evaluation afterwards", _word(bool(y.isfinite().all())), expected=due)


def _skipped(at_fault: bool, how: str, number: int) -> str | None:
    """Returns the expected outcome of a step; None after a batch that was not finite, where the statistics decide."""
    if number == 3:
        return "skipped" if at_fault and how != "too-large" else None
    return "moved"


def cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="autocast")
    rule = "under autocast a step runs by every setting, is as exact as its input allows, and state stays float32"
    for (name, shape), half, training in product(SHAPES.items(), HALVES, (True, False)):
        for given in ("float32", half):
            for channels_last in (False, True) if name == "2d" else (False,):
                suffix = "/channels-last" if channels_last else ""
                mode = "train" if training else "eval"
                yield case(
                    name=f"batch_norm{name}/{mode}/{half}/x={given}{suffix}",
                    observe=partial(
                        _step, shape=shape, half=half, given=given, training=training, channels_last=channels_last
                    ),
                    rule=rule,
                    rows=("A23",) if given == half else (),
                    quick=name == "2d" and half == "bfloat16" and given == half and not channels_last,
                )
        if training and name != "1d":
            yield case(
                name=f"batch_norm{name}/block/{half}",
                observe=partial(_block, shape=shape, half=half),
                rule=rule,
                rows=("A23",),
            )
    for dimensions, how, momentum in product((1, 2, 3), SPOILED, (0.1, 1.0, None)):
        yield case(
            name=f"batch_norm{dimensions}d/spoiled/{how}/momentum={momentum}".lower(),
            observe=partial(_overflow, dimensions=dimensions, how=how, momentum=momentum),
            rule="a batch that is not finite affects the running statistics as accepted",
            rows=("T20",),
            quick=dimensions == 2 and how == "one-channel-inf",
        )
    for dimensions, half, how in product((1, 2, 3), HALVES, ("gradients", "inf", "nan", "too-large")):
        yield case(
            name=f"batch_norm{dimensions}d/scaled/{half}/{how}",
            observe=partial(_scaled, dimensions=dimensions, half=half, how=how),
            rule="a step that overflows is skipped, and training continues as accepted",
            rows=("T20",) if how != "gradients" else (),
        )
