"""Faulty layer, group, instance and RMS norms, each with one thing wrong: what the checks of other norms must catch.

A fault stands in for the function of ``torch.nn.functional`` that the layers of its norm call. `Faithful` is torch's
own function and `Composed` the same from basic operations; a fault changes one thing of either, for every norm that has
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from faults import _Holding, _SecondDetached, _TangentShort, misread, valued_as

LAYER, RMS, GROUP, INSTANCE = NORMS = ("layer_norm", "rms_norm", "group_norm", "instance_norm")
CENTRED = (LAYER, GROUP, INSTANCE)
OWN = {name: getattr(F, name) for name in NORMS}


@dataclass(frozen=True)
class Call:
    """The arguments of a call of one of the functions."""

    norm: str
    x: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float
    #: The dimensions that layer and RMS norm take in.
    normalized: tuple[int, ...] = ()
    groups: int = 1
    running: tuple[Tensor | None, Tensor | None] = (None, None)
    by_input: bool = True
    momentum: float = 0.1

    def own(self) -> Tensor:
        """What torch makes of it."""
        affine = {"weight": self.weight, "bias": self.bias}
        if self.norm == RMS:
            return OWN[RMS](self.x, self.normalized, self.weight, self.eps)
        if self.norm == LAYER:
            return OWN[LAYER](self.x, self.normalized, **affine, eps=self.eps)
        if self.norm == GROUP:
            return OWN[GROUP](self.x, self.groups, **affine, eps=self.eps)
        mean, var = self.running
        return OWN[INSTANCE](self.x, mean, var, self.weight, self.bias, self.by_input, self.momentum, self.eps)

    def rows(self, z: Tensor) -> Tensor:
        """`z` by slices: (slices, values of each)."""
        if self.norm in {LAYER, RMS}:
            return z.reshape(-1, *self.normalized).flatten(1)
        parts = self.groups if self.norm == GROUP else z.shape[1]
        return z.reshape(z.shape[0] * parts, -1)

    @property
    def place(self) -> tuple[int, ...]:
        """The shape in which a weight applies."""
        return self.normalized if self.norm in {LAYER, RMS} else (-1, *[1] * (self.x.dim() - 2))


class Faithful:
    """Torch's own function."""

    def __call__(self, call: Call) -> Tensor:
        return call.own()


class Composed(Faithful):
    """A norm by basic operations, in float32 at the least: as good as torch's, and made of parts to replace."""

    def __call__(self, call: Call) -> Tensor:
        z = self.lift(call.x)
        if call.by_input:
            rows = call.rows(z)
            mean = self.mean(rows) if call.norm != RMS else torch.zeros_like(rows[:, :1])
            var = self.var(rows, mean)
            if call.running[0] is not None:
                with torch.no_grad():
                    self.track(call, mean, var, rows.shape[1])
            unit = self.normalize(rows, mean, var, call.eps).reshape(z.shape)
        else:
            mean, var = (one.to(z.dtype).view(call.place) for one in call.running if one is not None)
            unit = self.normalize(z, mean, var, call.eps)
        return self.scale(call, unit, z).to(call.x.dtype)

    def lift(self, x: Tensor) -> Tensor:
        return x.to(torch.promote_types(x.dtype, torch.float32))

    def mean(self, rows: Tensor) -> Tensor:
        return rows.mean(1, keepdim=True)

    def var(self, rows: Tensor, mean: Tensor) -> Tensor:
        return (rows - mean).square().mean(1, keepdim=True)

    def inverse(self, var: Tensor, eps: float) -> Tensor:
        return (var + eps).rsqrt()

    def normalize(self, z: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
        return (z - mean) * self.inverse(var, eps)

    def scale(self, call: Call, unit: Tensor, z: Tensor) -> Tensor:
        y = unit if call.weight is None else unit * self.weight(call, z).view(call.place)
        return y if call.bias is None else y + self.bias(call, z).view(call.place)

    def weight(self, call: Call, z: Tensor) -> Tensor:
        assert call.weight is not None
        return call.weight

    def bias(self, call: Call, z: Tensor) -> Tensor:
        assert call.bias is not None
        return call.bias

    def share(self, call: Call) -> float:
        return call.momentum

    def unbiased(self, var: Tensor, count: int) -> Tensor:
        return var * (count / (count - 1))

    def track(self, call: Call, mean: Tensor, var: Tensor, count: int) -> None:
        """Moves the running statistics of an instance norm by the mean over the samples."""
        for kept, new in zip(call.running, (mean, self.unbiased(var, count)), strict=True):
            assert kept is not None
            of_channels = new.view(-1, kept.numel()).mean(0)
            kept.copy_(kept * (1 - self.share(call)) + of_channels * self.share(call))


#: The arguments of each function behind the input.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    LAYER: ("normalized_shape", "weight", "bias", "eps"),
    RMS: ("normalized_shape", "weight", "eps"),
    GROUP: ("num_groups", "weight", "bias", "eps"),
    INSTANCE: ("running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps"),
}


def function(fault: Faithful, norm: str) -> Callable[..., Tensor]:
    """The function of ``torch.nn.functional`` for `norm` with `fault` in its place."""

    def called(x: Tensor, *given: Any, **named: Any) -> Tensor:
        told = {**dict(zip(ARGUMENTS[norm], given, strict=False)), **named}
        eps = told.get("eps", None if norm == RMS else 1e-5)
        if eps is None:
            eps = torch.finfo(torch.promote_types(x.dtype, torch.float32)).eps
        return fault(
            Call(
                norm,
                x,
                told.get("weight"),
                told.get("bias"),
                eps,
                normalized=tuple(told.get("normalized_shape", ())),
                groups=told.get("num_groups", 1),
                running=(told.get("running_mean"), told.get("running_var")),
                by_input=told.get("use_input_stats", True),
                momentum=told.get("momentum", 0.1),
            )
        )

    return called


@contextmanager
def injected(fault: Faithful | None, norm: str) -> Iterator[None]:
    """Puts a fault in the place of torch's function for `norm`."""
    try:
        if fault is not None:
            setattr(F, norm, function(fault, norm))
        yield
    finally:
        setattr(F, norm, OWN[norm])


@dataclass(frozen=True)
class NormFault:
    """A faulty function for one norm, and what is there to catch it."""

    norm: str
    made: type[Faithful]
    what: str
    #: An expression for ``-k`` that names the cases meant to catch it.
    select: str
    #: It is looked for with the slow tests alone: those of each class but one, and those that take seconds.
    slow: bool

    @property
    def id(self) -> str:
        return f"{self.norm}-{self.made.__name__}"


_FOUND: list[NormFault] = []


def fault(
    what: str, select: str, norms: tuple[str, ...] = NORMS, *, slow: bool = False
) -> Callable[[type[Faithful]], type[Faithful]]:
    """Enter a class once for each of `norms`; "{norm}" in `select` is its name, as ids have it."""

    def enter(made: type[Faithful]) -> type[Faithful]:
        first = norms[len({one.made for one in _FOUND}) % len(norms)]
        _FOUND.extend(
            NormFault(norm, made, what, select.format(norm=norm), slow=slow or norm != first) for norm in norms
        )
        return made

    return enter


STEP = "other-norms/step/{norm}/1d"
FULL = f"{STEP} and /float32/parameters=float32"


# Values.


@fault("the output is 1 % too large", FULL)
class OnePercentOff(Faithful):
    def __call__(self, call: Call) -> Tensor:
        return super().__call__(call) * 1.01


@fault("eps is added to the standard deviation", "other-norms/settings/{norm}")
class EpsilonOutsideRoot(Composed):
    def inverse(self, var: Tensor, eps: float) -> Tensor:
        return 1 / ((var + 1e-30).sqrt() + eps)


@fault("eps is 1e-5, whatever was asked", "other-norms/settings/{norm}")
class FixedEpsilon(Composed):
    def inverse(self, var: Tensor, eps: float) -> Tensor:
        return super().inverse(var, 1e-5)


@fault("the slices are normalized by the unbiased variance", FULL, CENTRED)
class UnbiasedNormalizing(Composed):
    def normalize(self, z: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
        count = z.shape[1]
        return super().normalize(z, mean, var * (count / (count - 1)) if var.shape[-1] == 1 else var, eps)


@fault("the weight is ignored", FULL)
class WeightIgnored(Composed):
    def weight(self, call: Call, z: Tensor) -> Tensor:
        return torch.ones_like(super().weight(call, z)) + 0 * super().weight(call, z)


@fault("the bias is ignored", FULL, CENTRED)
class BiasIgnored(Composed):
    def bias(self, call: Call, z: Tensor) -> Tensor:
        return 0 * super().bias(call, z)


@fault("all groups are one", FULL, (GROUP,))
class GroupsMerged(Faithful):
    def __call__(self, call: Call) -> Tensor:
        return super().__call__(replace(call, groups=1))


@fault("a mean is subtracted, as in layer norm", FULL, (RMS,))
class MeanSubtracted(Faithful):
    def __call__(self, call: Call) -> Tensor:
        return OWN[LAYER](call.x, call.normalized, call.weight, None, call.eps)


@fault("inputs of rank 5 are read at the first depth only", "other-norms/step/{norm}/3d and /float32/")
class DepthForgotten(Composed):
    def var(self, rows: Tensor, mean: Tensor) -> Tensor:
        return super().var(rows[:, : rows.shape[1] // 3] if self.is_deep else rows, mean)

    def __call__(self, call: Call) -> Tensor:
        self.is_deep = call.x.dim() == 5
        return super().__call__(call)


@fault("values beyond 1e4 are clipped", "other-norms/peaks/{norm} and float32")
class PeaksClipped(Faithful):
    def __call__(self, call: Call) -> Tensor:
        return super().__call__(replace(call, x=call.x.clamp(-1e4, 1e4)))


@fault("samples after the first 65535 are zero", "large-batch/{norm}/65537x", CENTRED, slow=True)
class SamplesTruncated(Faithful):
    def __call__(self, call: Call) -> Tensor:
        y = super().__call__(call)
        return torch.cat([y[:65535], 0 * y[65535:]]) if len(y) > 65535 else y


@fault("the last value of an odd number is left out of the statistics", "other-norms/sizes/{norm}")
class OddValueDropped(Composed):
    def var(self, rows: Tensor, mean: Tensor) -> Tensor:
        return super().var(rows[:, : max(1, rows.shape[1] // 2 * 2)], mean)


# Gradients.


@fault("mean and variance are constants in the backward pass", FULL)
class StatisticsDetached(Composed):
    def normalize(self, z: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
        return super().normalize(z, mean.detach(), var.detach(), eps)


@fault("dx lacks the term of the mean", FULL, CENTRED)
class NoMeanTerm(Composed):
    def normalize(self, z: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
        return super().normalize(z, mean.detach(), var, eps)


@fault("dx lacks the term of the variance", FULL)
class NoVarianceTerm(Composed):
    def normalize(self, z: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
        return super().normalize(z, mean, var.detach(), eps)


@fault("dweight lacks the last sample", FULL)
class WeightGradientLacksSample(Composed):
    def scale(self, call: Call, unit: Tensor, z: Tensor) -> Tensor:
        if call.weight is None:
            return super().scale(call, unit, z)
        detached = replace(call, weight=call.weight.detach())
        return torch.cat([super().scale(call, unit[:-1], z[:-1]), super().scale(detached, unit[-1:], z[-1:])])


@fault("dbias is a mean, not a sum", FULL, CENTRED)
class BiasGradientMean(Composed):
    def bias(self, call: Call, z: Tensor) -> Tensor:
        return valued_as(super().bias(call, z), super().bias(call, z) / z.shape[0])


@fault("dweight is zero if the input needs no gradient", "reference/{norm} and asked")
class NeedsInputGradient(Composed):
    def weight(self, call: Call, z: Tensor) -> Tensor:
        weight = super().weight(call, z)
        return weight if z.requires_grad else weight.detach() + 0 * weight


@fault("dx is divided by the weight, which may be zero", "other-norms/zero-weight/{norm}")
class DividesByWeight(Composed):
    def scale(self, call: Call, unit: Tensor, z: Tensor) -> Tensor:
        if unit.requires_grad and call.weight is not None:
            weight = call.weight.detach().view(call.place)
            unit = unit * 1
            unit.register_hook(lambda gradient: gradient / weight * weight)
        return super().scale(call, unit, z)


@fault("the second derivative lacks the statistics", "higher-order/orders/{norm}/1d")
class SecondDerivativeWrong(Faithful):
    def __call__(self, call: Call) -> Tensor:
        y = super().__call__(call)
        return _SecondDetached.apply(call.x, y) if call.x.requires_grad else y


@fault("a gradient penalty is 1 % off in float32", "higher-order/penalty/{norm}/1d")
class SecondDerivativeOff(Faithful):
    def __call__(self, call: Call) -> Tensor:
        y = super().__call__(call)
        if y.requires_grad and y.dtype == torch.float32:
            y.register_hook(lambda dy: valued_as(dy, dy * 1.01))
        return y


@fault("the forward-mode derivative is 1 % short", "forward-mode/{norm}/3x4x5", slow=True)
class ForwardModeShort(Faithful):
    def __call__(self, call: Call) -> Tensor:
        y: Tensor = _TangentShort.apply(super().__call__(call))
        return y


# Layouts.


@fault("the input's memory is taken for contiguous", FULL)
class StrideIgnored(Faithful):
    def __call__(self, call: Call) -> Tensor:
        return super().__call__(replace(call, x=misread(call.x)))


@fault("the input's offset in its storage is taken for 0", FULL)
class OffsetIgnored(Faithful):
    def __call__(self, call: Call) -> Tensor:
        return super().__call__(replace(call, x=misread(call.x, offset=True)))


class _HookedGradient(Faithful):
    """Changes the incoming gradient before torch's own backward pass gets it."""

    def __call__(self, call: Call) -> Tensor:
        y = super().__call__(call)
        if y.requires_grad:
            y.register_hook(self.incoming)
        return y

    def incoming(self, dy: Tensor) -> Tensor:
        return dy


@fault("the incoming gradient's memory is taken for contiguous", FULL)
class GradientStrideIgnored(_HookedGradient):
    def incoming(self, dy: Tensor) -> Tensor:
        return misread(dy)


@fault("an expanded incoming gradient fails", "strides/{norm}/1d/x=contiguous")
class ExpandedGradientFails(_HookedGradient):
    def incoming(self, dy: Tensor) -> Tensor:
        if 0 in dy.stride():
            raise RuntimeError("CUDNN_STATUS_BAD_PARAM")
        return dy


def other_layout(tensor: Tensor) -> Tensor:
    """The same values with the last two dimensions the other way round in memory."""
    return tensor.mT.contiguous().mT if tensor.dim() > 2 else tensor


class _OtherGradientLayout(torch.autograd.Function):
    """The identity, whose gradient comes in another layout."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(_: Any, dy: Tensor) -> Tensor:
        return other_layout(dy)


@fault("the output has a layout of its own", f"{STEP} and float16/parameters=float16")
class OutputLayout(Faithful):
    def __call__(self, call: Call) -> Tensor:
        return other_layout(super().__call__(call))


@fault("the gradient has a layout of its own", f"{STEP} and float16/parameters=float16")
class GradientLayout(Faithful):
    def __call__(self, call: Call) -> Tensor:
        x: Tensor = _OtherGradientLayout.apply(call.x)  # type: ignore[no-untyped-call]
        return super().__call__(replace(call, x=x))


@fault("the output is contiguous, whatever the input is", "other-norms/step/{norm}/2d and /float32/", (GROUP, RMS))
class AlwaysContiguous(Faithful):
    def __call__(self, call: Call) -> Tensor:
        return super().__call__(call).contiguous()


# Precision.


@fault("the variance is E[x^2] - E[x]^2", "other-norms/offsets/{norm} and 1d", CENTRED)
class OnePassVariance(Composed):
    def var(self, rows: Tensor, mean: Tensor) -> Tensor:
        return (rows.square().mean(1, keepdim=True) - mean.square()).clamp_min(0)


@fault(
    "the variance of a constant slice is E[x^2] - E[x]^2",
    "constant-slices/constant/{norm} and /float32/ and contiguous",
    CENTRED,
)
class OnePassConstant(OnePassVariance):
    pass


@fault("constant slices are NaN", "constant-slices/zero/{norm} and /float32/")
class ConstantIsNaN(Composed):
    def inverse(self, var: Tensor, eps: float) -> Tensor:
        return super().inverse(var, eps) * torch.where(var == 0, torch.nan, 1.0)


@fault("the mean of a constant slice is in half precision", "constant-slices/constant/{norm} and float16", CENTRED)
class ConstantMeanInHalf(Composed):
    def mean(self, rows: Tensor) -> Tensor:
        return (rows * (1 / rows.shape[1])).to(torch.bfloat16).to(rows.dtype).sum(1, keepdim=True)


@fault("half precision is summed in half precision", "other-norms/many/{norm}")
class HalfSums(Composed):
    def var(self, rows: Tensor, mean: Tensor) -> Tensor:
        squares = (rows - mean).square()
        if self.precision.itemsize > 2:
            return squares.mean(1, keepdim=True)
        total = torch.zeros_like(squares[:, :1])
        for part in squares.split(1000, 1):  # a thousand at once, so that it takes less long
            total = (total + part.sum(1, keepdim=True)).to(self.precision).to(rows.dtype)
        return total / rows.shape[1]

    def __call__(self, call: Call) -> Tensor:
        self.precision = call.x.dtype
        return super().__call__(call)


@fault("the variance overflows half precision", "other-norms/scales/{norm} and float16")
class HalfVariance(Composed):
    def var(self, rows: Tensor, mean: Tensor) -> Tensor:
        return super().var(rows, mean).to(self.precision).to(rows.dtype)

    def __call__(self, call: Call) -> Tensor:
        self.precision = call.x.dtype
        return super().__call__(call)


@fault("the values of a slice are counted in the input's precision", "other-norms/many/{norm}")
class CountInHalf(Composed):
    def var(self, rows: Tensor, mean: Tensor) -> Tensor:
        return super().var(rows, mean) * (rows.shape[1] / min(rows.shape[1], torch.finfo(self.precision).max))

    def __call__(self, call: Call) -> Tensor:
        self.precision = call.x.dtype
        return super().__call__(call)


@fault("parameters are rounded to the input's precision", f"{STEP} and float16/parameters=float32")
class HalfParameters(Composed):
    def weight(self, call: Call, z: Tensor) -> Tensor:
        return super().weight(call, z).to(call.x.dtype).to(z.dtype)


@fault("float64 is computed in float32", f"{STEP} and float64")
class DoubleInSingle(Composed):
    def lift(self, x: Tensor) -> Tensor:
        return x.float()


@fault("half inputs need half parameters", f"{STEP} and float16/parameters=float32")
class NoMixedTypes(Faithful):
    def __call__(self, call: Call) -> Tensor:
        if call.weight is not None and call.weight.dtype != call.x.dtype:
            raise RuntimeError(f"expected scalar type {call.x.dtype} but found {call.weight.dtype}")
        return super().__call__(call)


@fault("under autocast the output is in half precision", "other-norms/autocast/{norm}/1d and x=float32")
class AutocastHalf(Faithful):
    def __call__(self, call: Call) -> Tensor:
        y = super().__call__(call)
        return y.to(torch.get_autocast_dtype(call.x.device.type)) if torch.is_autocast_enabled("cpu") else y


@fault("under autocast the output of half precision is float32", "other-norms/autocast/{norm}/1d and x=bfloat16")
class AutocastSingle(Faithful):
    def __call__(self, call: Call) -> Tensor:
        y = super().__call__(call)
        return y.float() if torch.is_autocast_enabled("cpu") else y


# Values that are not finite, and none.


@fault("inf and NaN in the input count as 0", "other-norms/not-finite/{norm}/1d and /x")
class InfinityIsZero(Faithful):
    def __call__(self, call: Call) -> Tensor:
        return super().__call__(replace(call, x=call.x.nan_to_num(0.0, 0.0, 0.0)))


@fault("NaN stays at its place, and the rest of its slice is finite", "other-norms/not-finite/{norm}/1d and /x")
class NaNLocal(Faithful):
    def __call__(self, call: Call) -> Tensor:
        y = super().__call__(replace(call, x=call.x.nan_to_num(0.0)))
        return torch.where(call.x.isnan(), torch.nan, y)


@fault("one inf in a slice makes every slice NaN", "other-norms/not-finite/{norm}/1d and /x")
class InfinitySpreads(Composed):
    def var(self, rows: Tensor, mean: Tensor) -> Tensor:
        return super().var(rows, mean) + 0 * rows.sum()


@fault("NaN in the incoming gradient counts as 0", "other-norms/not-finite/{norm}/1d and /dy")
class GradientNaNIsZero(_HookedGradient):
    def incoming(self, dy: Tensor) -> Tensor:
        return dy.nan_to_num(0.0, 0.0, 0.0)


@fault("an empty batch fails", "other-norms/empty/{norm}/1d", (LAYER, RMS, GROUP))
class EmptyFails(Faithful):
    def __call__(self, call: Call) -> Tensor:
        if call.x.numel() == 0:
            raise RuntimeError("cannot reshape tensor of 0 elements")
        return super().__call__(call)


# Statistics of instance norm.

KEPT = "other-norms/statistics/{norm}/1d"


@fault("evaluation uses the statistics of the input", f"{STEP}/eval and /float32/", (INSTANCE,))
class EvaluationByInput(Faithful):
    def __call__(self, call: Call) -> Tensor:
        return super().__call__(replace(call, by_input=True, running=(None, None)))


@fault("training uses the running statistics", f"{STEP}/train/tracked and /float32/", (INSTANCE,))
class TrainingByStatistics(Faithful):
    def __call__(self, call: Call) -> Tensor:
        return super().__call__(replace(call, by_input=call.running[0] is None))


@fault("the running variance is biased", KEPT, (INSTANCE,))
class BiasedRunningVariance(Composed):
    def unbiased(self, var: Tensor, count: int) -> Tensor:
        return var


@fault("momentum is the share of the old statistics", KEPT, (INSTANCE,))
class MomentumInverted(Composed):
    def share(self, call: Call) -> float:
        return 1 - super().share(call)


@fault("the running statistics are those of the first sample", KEPT, (INSTANCE,))
class FirstSampleKept(Composed):
    def track(self, call: Call, mean: Tensor, var: Tensor, count: int) -> None:
        channels = call.x.shape[1]
        super().track(call, mean[:channels], var[:channels], count)


@fault("the running statistics stand still", KEPT, (INSTANCE,))
class StatisticsStandStill(Composed):
    def track(self, call: Call, mean: Tensor, var: Tensor, count: int) -> None:
        pass


@fault("evaluation moves the running statistics", KEPT, (INSTANCE,))
class UpdatedInEval(Faithful):
    def __call__(self, call: Call) -> Tensor:
        y = super().__call__(call)
        if not call.by_input and call.running[0] is not None:
            call.running[0].mul_(1.01)
        return y


# Behaviour.


@fault("every second call differs", "other-norms/modes/{norm}/1d")
class SecondCallDiffers(Faithful):
    calls = 0

    def __call__(self, call: Call) -> Tensor:
        self.calls += 1
        y = super().__call__(call)
        return y * (1 + 2**-22) if self.calls % 2 else y


@fault("a sample's output depends on the size of its batch", "determinism/batch/{norm} and 24x14x33")
class BatchSizeMatters(Faithful):
    def __call__(self, call: Call) -> Tensor:
        y = super().__call__(call)
        return y if len(call.x) < 24 else y * (1 + 2**-22)


@fault("the input is scaled in place", "arguments/{norm}/1d")
class InputChanged(Faithful):
    def __call__(self, call: Call) -> Tensor:
        with torch.no_grad():
            call.x.mul_(1.001)
        return super().__call__(call)


@fault("the backward pass is kept one activation more", "peak-memory/{norm}/contiguous")
class KeepsCopy(Faithful):
    def __call__(self, call: Call) -> Tensor:
        x: Tensor = _Holding.apply(call.x, call.x.detach()) if call.x.requires_grad else call.x
        return super().__call__(replace(call, x=x))


@fault("exported, the output is a thousandth larger", "other-norms/trace/{norm}/1d")
class ExportedScale(Faithful):
    def __call__(self, call: Call) -> Tensor:
        y = super().__call__(call)
        return y * 1.001 if torch.jit.is_tracing() or torch.compiler.is_exporting() else y


@fault("exported as a program, the output is a thousandth larger", "other-norms/export/{norm}/2d", slow=True)
class ProgramScale(ExportedScale):
    pass


@fault(
    "compiled, the output is a thousandth larger",
    "compile/aot_eager_decomp_partition/other-norms-2d and not large",
    (GROUP, RMS),
    slow=True,
)
class CompiledScale(Faithful):
    def __call__(self, call: Call) -> Tensor:
        y = super().__call__(call)
        return y * 1.001 if torch.compiler.is_compiling() else y


NORM_FAULTS: tuple[NormFault, ...] = tuple(_FOUND)
