"""Family ``frozen``: layers whose parameters or statistics are frozen, also in training for quantization."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from bnsuite.cases.checks.case import BehaviourCase, CheckNotApplicableError, Observation, Subject
from bnsuite.cases.checks.material.arithmetic import LIMIT, error_ratio, randomize_state, step_against_float64
from bnsuite.cases.checks.material.states import BUFFERS, snapshot

if TYPE_CHECKING:
    import torch
    from torch import nn

CHANNELS = 6
SHAPES: dict[int, tuple[int, ...]] = {1: (8, CHANNELS, 5), 2: (6, CHANNELS, 4, 5), 3: (4, CHANNELS, 2, 3, 4)}
STEPS = 10
#: The switch of torch's quantization modules between two ways to compute.
STABLE = "_enable_slow_path_for_better_numerical_stability"


def _same(one: torch.Tensor, other: torch.Tensor) -> str:
    import torch

    return "unchanged" if torch.equal(one, other) else "changed"


def _net(subject: Subject, dimensions: int, **options: Any) -> tuple[nn.Module, nn.Module]:
    """Returns a net that contains the layer, and the layer."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    conv: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    layer = randomize_state(subject.batch_norm(dimensions, CHANNELS, **options))
    net = nn.Sequential(conv(CHANNELS, CHANNELS, 3, padding=1), layer, nn.ReLU(), conv(CHANNELS, 3, 1))
    return net.to(subject.device), layer


#: The frozen parts of a layer in a net that trains: its mode, its parameters, or both.
WAYS = {"eval": (False, True), "eval+no-grad": (False, False), "no-grad": (True, False), "free": (True, True)}


def _training(subject: Subject, *, dimensions: int, way: str, affine: bool, optimizer: str) -> Iterator[Observation]:
    """Trains a net: only the parts of the layer that are not frozen move."""
    import torch

    mode, trained = WAYS[way]
    net, layer = _net(subject, dimensions, affine=affine)
    net.train()
    layer.train(mode).requires_grad_(trained)
    kinds: dict[str, Callable[..., Any]] = {
        "sgd": partial(torch.optim.SGD, lr=1e-2, momentum=0.9, weight_decay=0.1),
        "adamw": partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1),
    }
    steps = kinds[optimizer](net.parameters())
    before, others = snapshot(layer), [one.detach().clone() for one in net[0].parameters()]  # type: ignore[index]
    for seed in range(STEPS):
        steps.zero_grad()
        y = net(subject.randn(*SHAPES[dimensions], seed=seed))
        y.backward(subject.randn(*y.shape, seed=seed + 100))
        steps.step()
    for name, one in snapshot(layer).items():
        free = mode if name in BUFFERS else trained
        yield Observation(name, _same(one, before[name]), expected="changed" if free else "unchanged")
    for one, other in zip(net[0].parameters(), others, strict=True):  # type: ignore[index]
        yield Observation(f"convolution's {tuple(one.shape)}", _same(one, other), expected="changed")
    for name, parameter in layer.named_parameters():
        yield Observation(f"{name}.grad", "none" if parameter.grad is None else "some", expected=_some(trained))


def _some(any_: bool) -> str:
    return "some" if any_ else "none"


def _others(subject: Subject, *, dimensions: int, affine: bool) -> Iterator[Observation]:
    """A frozen layer gives a sample the same result whatever else is in the batch; a training one does not."""
    import torch

    shape = SHAPES[dimensions]
    for training, frozen in product((False, True), repeat=2):
        layer = randomize_state(subject.batch_norm(dimensions, CHANNELS, affine=affine))
        net = torch.nn.Sequential(layer).train()
        layer.train(training).requires_grad_(not frozen)
        x, other = (subject.randn(*shape, seed=seed, mean=float(seed)) for seed in (0, 1))
        mixed = torch.cat([x[:1], other[1:]])
        one, two = net(x)[0], net(mixed)[0]
        what = f"{'train' if training else 'eval'}/{'frozen' if frozen else 'free'}"
        yield Observation(what, _same(one, two), expected="changed" if training else "unchanged")


def _gradients(subject: Subject, *, dimensions: int, affine: bool) -> Iterator[Observation]:
    """Steps of a layer whose parameters are frozen: the gradient of its input is like any other."""
    for training in (False, True):
        layer = randomize_state(subject.batch_norm(dimensions, CHANNELS, affine=affine)).train(training)
        free = copy.deepcopy(layer)
        layer.requires_grad_(False)
        x, dy = (subject.randn(*SHAPES[dimensions], seed=seed) for seed in (0, 1))
        prefix = f"{'train' if training else 'eval'}/"
        for told in step_against_float64(layer, x, dy, prefix=prefix):
            if told.what.removeprefix(prefix) not in {"dweight", "dbias"}:
                yield told
        names = [name for name, one in layer.named_parameters() if one.grad is not None]
        yield Observation(f"{prefix}gradients", "+".join(names) or "none", expected="none")
        leaves = [x.detach().clone().requires_grad_() for _ in range(2)]
        for leaf, one in zip(leaves, (layer, free), strict=True):
            one(leaf).backward(dy)
        assert leaves[0].grad is not None
        assert leaves[1].grad is not None
        far = error_ratio(leaves[0].grad, leaves[1].grad, leaves[1].grad)
        yield Observation(f"{prefix}dx beside a free layer's", far, LIMIT)


def _again(subject: Subject, *, dimensions: int) -> Iterator[Observation]:
    """Calls train() of a net, which by design puts a frozen layer back to training."""
    net, layer = _net(subject, dimensions)
    layer.eval()
    net.train()
    yield Observation("training", str(layer.training), expected="True")
    before = snapshot(layer)
    net(subject.randn(*SHAPES[dimensions]))
    for name in BUFFERS:
        yield Observation(name, _same(snapshot(layer)[name], before[name]), expected="changed")
    net.eval()
    yield Observation("training after eval()", str(layer.training), expected="False")


def _zero(subject: Subject, *, dimensions: int, part: str, training: bool) -> Iterator[Observation]:
    """Weights of zero, all of them or some, and small ones: nothing may be divided by them."""
    import torch

    layer: Any = randomize_state(subject.batch_norm(dimensions, CHANNELS)).train(training)
    values = {"all": torch.zeros(CHANNELS), "some": torch.arange(CHANNELS) % 2 * 1.5, "tiny": torch.full((6,), 1e-20)}
    with torch.no_grad():
        layer.weight.copy_(values[part])
    x, dy = (subject.randn(*SHAPES[dimensions], seed=seed) for seed in (0, 1))
    yield from step_against_float64(layer, x, dy)


def _quantized(subject: Subject, *, dimensions: int, part: str, stable: bool) -> Iterator[Observation]:
    """A convolution and layer in one that trains for quantization, with weights of zero by `part`.

    Without an effect of rounding, which is turned off, it is the plain pair while it trains.
    """
    import torch
    from torch import nn

    try:
        from torch.ao.nn.intrinsic import qat
        from torch.ao.quantization import default_qat_qconfig, disable_fake_quant, disable_observer
    except ImportError as error:
        raise CheckNotApplicableError("torch.ao has no quantization-aware training here") from error
    if not hasattr(qat, f"ConvBn{dimensions}d"):
        raise CheckNotApplicableError(f"torch.ao has no ConvBn{dimensions}d")
    torch.manual_seed(0)
    kind = getattr(qat, f"ConvBn{dimensions}d")
    fused = kind(CHANNELS, CHANNELS, 3, padding=1, bias=True, qconfig=default_qat_qconfig).to(subject.device)
    if stable and not hasattr(fused, STABLE):
        raise CheckNotApplicableError("torch.ao has no stable path")
    setattr(fused, STABLE, stable)
    fused.apply(disable_observer)
    fused.apply(disable_fake_quant)
    randomize_state(fused.bn)
    with torch.no_grad():
        fused.bn.weight.mul_({"all": 0.0, "some": torch.arange(CHANNELS, device=subject.device) % 2, "none": 1.0}[part])
    conv: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1](CHANNELS, CHANNELS, 3, padding=1)
    conv.load_state_dict({name: one for name, one in fused.state_dict().items() if name in {"weight", "bias"}})
    rounded = nn.Sequential(conv, copy.deepcopy(fused.bn)).to(subject.device).train()
    exact = copy.deepcopy(rounded).double()
    x, dy = (subject.randn(*SHAPES[dimensions], seed=seed) for seed in (0, 1))
    results = []
    for net, given in ((fused.train(), x), (exact, x.double()), (rounded, x)):
        leaf = given.requires_grad_()
        y = net(leaf)
        (dx,) = torch.autograd.grad(y, leaf, dy.to(given.dtype))
        results.append((y.detach(), dx))
    for number, name in enumerate(("y", "dx")):
        yield Observation(name, error_ratio(*(one[number] for one in results)), LIMIT)
    steps = torch.optim.SGD(fused.parameters(), 1e-2)
    finite = True
    for seed in range(50):
        steps.zero_grad()
        y = fused(subject.randn(*SHAPES[dimensions], seed=seed))
        loss = (y - subject.randn(*y.shape, seed=seed + 100)).square().mean()
        loss.backward()
        steps.step()
        finite = finite and bool(loss.isfinite())
    finite = finite and all(bool(one.isfinite().all()) for one in (*fused.parameters(), *fused.bn.buffers()))
    yield Observation("50 steps", "finite" if finite else "not finite", expected="finite")


def _torchvision(subject: Subject) -> Iterator[Observation]:
    """Compares torchvision's frozen layer with the layer in evaluation."""
    import torch
    from torchvision.ops import FrozenBatchNorm2d

    layer = randomize_state(subject.batch_norm(2, CHANNELS)).eval()
    frozen = FrozenBatchNorm2d(CHANNELS).to(subject.device)
    frozen.load_state_dict(layer.state_dict())
    x = subject.randn(*SHAPES[2])
    exact = layer.double()(x.double()).detach()
    rounded = layer.float()(x).detach()
    with torch.no_grad():
        yield Observation("y", error_ratio(frozen(x), exact, rounded), LIMIT)


def cases() -> Iterator[BehaviourCase]:
    case = partial(BehaviourCase, group="frozen")
    for dimensions, affine in product(SHAPES, (True, False)):
        where = f"batch_norm{dimensions}d/affine={'on' if affine else 'off'}"
        quick = dimensions == 2 and affine
        for way, optimizer in product(WAYS, ("sgd", "adamw")):
            yield case(
                name=f"{where}/training/{way}/{optimizer}",
                observe=partial(_training, dimensions=dimensions, way=way, affine=affine, optimizer=optimizer),
                rule="frozen parts of a layer keep every bit, and the rest moves",
                rows=("T11",),
                quick=quick and optimizer == "sgd",
            )
        for name, observe, rule, rows in (
            (
                "others",
                _others,
                "the result of a frozen layer for a sample does not depend on the rest of the batch",
                ("T10",),
            ),
            ("gradients", _gradients, "frozen parameters have no gradient, and do not change those of others", ()),
        ):
            yield case(
                name=f"{where}/{name}",
                observe=partial(observe, dimensions=dimensions, affine=affine),
                rule=rule,
                rows=rows,
                quick=quick,
            )
    for dimensions in SHAPES:
        where = f"batch_norm{dimensions}d"
        yield case(
            name=f"{where}/train-again",
            observe=partial(_again, dimensions=dimensions),
            rule="the last switch of the net counts for the layer too",
        )
        for part, training in product(("all", "some", "tiny"), (True, False)):
            yield case(
                name=f"{where}/weights-zero/{part}/{'train' if training else 'eval'}",
                observe=partial(_zero, dimensions=dimensions, part=part, training=training),
                rule="weights of zero give the bias, and exact gradients",
                quick=dimensions == 2 and training,
            )
        for part, path in product(("all", "some", "none"), ("default", "stable")):
            yield case(
                name=f"{where}/quantized/{path}/zero={part}",
                observe=partial(_quantized, dimensions=dimensions, part=part, stable=path == "stable"),
                rule="training for quantization does not divide by a weight of zero",
                rows=("T18",) if part != "none" else (),
                torch_only=True,
            )
    yield case(
        name="torchvision",
        observe=_torchvision,
        rule="torchvision's frozen layer computes what the layer does in evaluation",
        needs=("torchvision",),
    )
