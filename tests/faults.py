"""Faulty batch norm layers, each with one thing wrong, for ``--impl tests/faults.py:NAME``: what the checks must catch.

`Faithful` is torch's own layer and `Composed` the same from basic operations; a fault changes one thing of either.
"""

from __future__ import annotations

import contextlib
import copy
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

Gate = Literal["numerics", "behaviour", "memory", "timing"]


@dataclass(frozen=True)
class Fault:
    """A faulty layer, and what is there to catch it."""

    name: str
    #: The family meant to catch it, such as running-statistics.
    family: str
    gate: Gate
    #: What is wrong with it.
    what: str
    #: An expression for ``-k`` that names the cases meant to catch it.
    select: str
    #: The role of the function that is faulty (see ``cases/functions.py``); "" for a layer.
    role: str = ""


class Faithful(_BatchNorm):
    """Torch's own layer, for inputs of every rank that one of its layers takes."""

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2 or x.dim() > 5:
            raise ValueError(f"expected 2D to 5D input (got {x.dim()}D input)")


def axes_of(x: Tensor) -> list[int]:
    return [axis for axis in range(x.dim()) if axis != 1]


def count_of(x: Tensor) -> int:
    """The values of `x` per channel."""
    return x.numel() // x.shape[1]


def valued_as(value: Tensor, graph: Tensor) -> Tensor:
    """The numbers of `value`, with the gradients of `graph`."""
    return value.detach() + (graph - graph.detach())


class Composed(Faithful):
    """Batch norm by basic operations, in float32 at the least: as good as torch's, and made of parts to replace."""

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        if x.shape[1] != self.num_features:
            raise RuntimeError(f"running_mean should contain {x.shape[1]} elements not {self.num_features}")
        z = self.lift(x)
        axes, shape = axes_of(x), [-1 if axis == 1 else 1 for axis in range(x.dim())]
        if self.by_batch():
            self.validate(x)
            if x.numel() == 0:
                return super().forward(x)
            mean = self.mean(z, axes)
            var = self.var(z, mean, axes)
            if self.training and self.track_running_stats and self.running_mean is not None:
                with torch.no_grad():
                    self.track(mean.flatten(), var.flatten(), count_of(x))
        else:
            mean, var = self.running_mean.to(z.dtype).view(shape), self.running_var.to(z.dtype).view(shape)
        y = self.normalize(z, mean, var)
        if self.weight is not None:
            y = self.scale(y, z, self.weight.view(shape), self.bias.view(shape))
        return y.to(x.dtype)

    def by_batch(self) -> bool:
        return self.training or self.running_mean is None

    def validate(self, x: Tensor) -> None:
        F._verify_batch_size(list(x.shape))
        if self.eps <= 0:
            raise ValueError(f"batch_norm eps must be positive during training, but got {self.eps}")

    def lift(self, x: Tensor) -> Tensor:
        return x.to(torch.promote_types(x.dtype, torch.float32))

    def mean(self, z: Tensor, axes: list[int]) -> Tensor:
        return z.mean(axes, keepdim=True)

    def var(self, z: Tensor, mean: Tensor, axes: list[int]) -> Tensor:
        return (z - mean).square().mean(axes, keepdim=True)

    def inverse(self, var: Tensor) -> Tensor:
        return (var + self.eps).rsqrt()

    def normalize(self, z: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return (z - mean) * self.inverse(var)

    def scale(self, normal: Tensor, z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return normal * weight + bias

    def count(self) -> None:
        self.num_batches_tracked.add_(1)

    def share(self) -> float:
        """The part of a new batch in the running statistics."""
        return 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum

    def track(self, mean: Tensor, var: Tensor, count: int) -> None:
        self.count()
        self.move(self.running_mean, mean, self.share())
        self.move(self.running_var, self.unbiased(var, count), self.share())

    def unbiased(self, var: Tensor, count: int) -> Tensor:
        return var * (count / (count - 1))

    def move(self, kept: Tensor, new: Tensor, share: float) -> None:
        kept.copy_(kept * (1 - share) + new * share)


_FOUND: list[Fault] = []
_Class = type[Faithful]


def fault(family: str, gate: Gate, what: str, select: str | None = None) -> Callable[[_Class], _Class]:
    """Enter a class in `FAULTS`; without `select`, all cases of the family are meant."""

    def enter(made: _Class) -> _Class:
        _FOUND.append(Fault(made.__name__, family, gate, what, select or f"{gate}/{family}/"))
        return made

    return enter


# sync-batch-norm: ranks that compute as one.


class Synchronised(Composed):
    """Batch norm over all ranks, as torch's SyncBatchNorm has it."""

    def count_of_all(self, z: Tensor) -> Tensor:
        return SumOverRanks.apply(z.new_tensor(float(count_of(z))))

    def mean(self, z: Tensor, axes: list[int]) -> Tensor:
        return SumOverRanks.apply(z.sum(axes, keepdim=True)) / self.count_of_all(z)

    def var(self, z: Tensor, mean: Tensor, axes: list[int]) -> Tensor:
        return SumOverRanks.apply((z - mean).square().sum(axes, keepdim=True)) / self.count_of_all(z)

    def track(self, mean: Tensor, var: Tensor, count: int) -> None:
        super().track(mean, var, int(self.count_of_all(mean.new_zeros(count, 1))))


class SumOverRanks(torch.autograd.Function):
    """The sum of every rank's tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *dy: Tensor) -> Tensor:
        total = dy[0].clone()
        torch.distributed.all_reduce(total)
        return total


@fault(
    "sync-batch-norm",
    "behaviour",
    "ranks count alike, however many samples each has",
    "sync-batch-norm/step/n=2+5/4-dim",
)
class RanksCountAlike(Synchronised):
    def mean(self, z: Tensor, axes: list[int]) -> Tensor:
        return SumOverRanks.apply(z.mean(axes, keepdim=True)) / torch.distributed.get_world_size()


# reference: one step against float64.


@fault("reference", "numerics", "eps is 1e-3, whatever was asked")
class FixedEpsilon(Composed):
    def inverse(self, var: Tensor) -> Tensor:
        return (var + 1e-3).rsqrt()


@fault("reference", "numerics", "eps is not added")
class NoEpsilon(Composed):
    def inverse(self, var: Tensor) -> Tensor:
        return var.rsqrt()


@fault("reference", "numerics", "eps is added to the standard deviation")
class EpsilonOutsideRoot(Composed):
    def inverse(self, var: Tensor) -> Tensor:
        return 1 / (var.sqrt() + self.eps)


@fault("reference", "numerics", "mean and variance are constants in the backward pass")
class StatisticsDetached(Composed):
    def normalize(self, z: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return super().normalize(z, mean.detach(), var.detach())


@fault("reference", "numerics", "dx lacks the term of the mean")
class NoMeanTerm(Composed):
    def normalize(self, z: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return super().normalize(z, mean.detach(), var)


@fault("reference", "numerics", "dx lacks the term of the variance")
class NoVarianceTerm(Composed):
    def normalize(self, z: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return super().normalize(z, mean, var.detach())


@fault("reference", "numerics", "dweight is made of x, not of normalized x")
class WeightGradientOfInput(Composed):
    def scale(self, normal: Tensor, z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return valued_as(normal * weight, normal * weight.detach() + z.detach() * weight) + bias


@fault("reference", "numerics", "backward takes the saved inverse deviation for a variance: right near variance 1")
class InverseTwice(Composed):
    def normalize(self, z: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        inverse = self.inverse(var)
        again = self.inverse(valued_as(inverse, var))
        return valued_as((z - mean) * inverse, (z - mean) * again)


@fault("reference", "numerics", "dbias is a mean, not a sum")
class BiasGradientMean(Composed):
    def scale(self, normal: Tensor, z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return normal * weight + valued_as(bias, bias / count_of(z))


@fault("reference", "numerics", "dweight is zero if the input needs no gradient")
class NeedsInputGradient(Composed):
    def scale(self, normal: Tensor, z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return super().scale(normal, z, weight if z.requires_grad else weight.detach() + 0 * weight, bias)


@fault("reference", "numerics", "inputs of rank 5 are averaged at the first depth only", "reference and 3d")
class DepthForgotten(Composed):
    def mean(self, z: Tensor, axes: list[int]) -> Tensor:
        return super().mean(z[:, :, :1] if z.dim() == 5 else z, axes)


# strides: layouts of the input and of the incoming gradient.


@fault("strides", "numerics", "channels after the first 64 are zero")
class First64Channels(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (torch.arange(x.shape[1], device=x.device) < 64).view(
            1, -1, *[1] * (x.dim() - 2)
        ).to(x.dtype)


def misread(x: Tensor, *, offset: bool = False) -> Tensor:
    """`x` with its memory taken for contiguous, from its own start or (`offset`) that of its storage."""
    if x.untyped_storage().nbytes() < x.numel() * x.element_size():
        return x
    contiguous = torch.empty(x.shape, device="meta").stride()
    return x.as_strided(x.shape, x.stride() if offset else contiguous, 0 if offset else x.storage_offset())


@fault("strides", "numerics", "the input's memory is taken for contiguous")
class StrideIgnored(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(misread(x))


@fault("strides", "numerics", "the input's offset in its storage is taken for 0")
class OffsetIgnored(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(misread(x, offset=True))


class _HookedGradient(Faithful):
    """Changes the incoming gradient before torch's own backward pass gets it."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if y.requires_grad:
            y.register_hook(self.incoming)
        return y

    def incoming(self, dy: Tensor) -> Tensor:
        return dy


@fault("strides", "numerics", "the incoming gradient's memory is taken for contiguous")
class GradientStrideIgnored(_HookedGradient):
    def incoming(self, dy: Tensor) -> Tensor:
        return misread(dy)


@fault("strides", "numerics", "an expanded incoming gradient fails")
class ExpandedGradientFails(_HookedGradient):
    def incoming(self, dy: Tensor) -> Tensor:
        if 0 in dy.stride():
            raise RuntimeError("CUDNN_STATUS_BAD_PARAM")
        return dy


class _ContiguousGradient(torch.autograd.Function):
    """The identity, whose gradient is contiguous."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(_: Any, dy: Tensor) -> Tensor:
        return dy.contiguous()


@fault("strides", "numerics", "the gradient is contiguous, whatever the input is", "numerics/strides and format")
class ContiguousGradient(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(_ContiguousGradient.apply(x))  # type: ignore[no-untyped-call]


@fault("strides", "numerics", "the output is contiguous, whatever the input is", "numerics/strides and format")
class AlwaysContiguous(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).contiguous()


# offsets, ranges, dtypes: precision.


@fault("offsets", "numerics", "the variance is E[x^2] - E[x]^2")
class OnePassVariance(Composed):
    def var(self, z: Tensor, mean: Tensor, axes: list[int]) -> Tensor:
        return (z.square().mean(axes, keepdim=True) - mean.square()).clamp_min(0)


@fault("offsets", "numerics", "y is x * scale + shift, which cancels where the mean is large", "offsets and n=8192")
class FoldedShift(Composed):
    def normalize(self, z: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return z * self.inverse(var) - mean * self.inverse(var)


@fault("offsets", "numerics", "constant channels are NaN")
class ConstantIsNaN(Composed):
    def inverse(self, var: Tensor) -> Tensor:
        return super().inverse(var) * torch.where(var == 0, torch.nan, 1.0)


@fault("ranges", "numerics", "the values of a channel are counted in the input's precision", "ranges and n=80000")
class CountInHalf(Composed):
    """In float16, 65504 at the most."""

    def mean(self, z: Tensor, axes: list[int]) -> Tensor:
        return super().mean(z, axes) * (count_of(z) / min(count_of(z), torch.finfo(self.precision).max))

    def forward(self, x: Tensor) -> Tensor:
        self.precision = x.dtype
        return super().forward(x)


@fault("ranges", "numerics", "the variance overflows half precision")
class HalfVariance(Composed):
    def forward(self, x: Tensor) -> Tensor:
        self.precision = x.dtype
        return super().forward(x)

    def var(self, z: Tensor, mean: Tensor, axes: list[int]) -> Tensor:
        return super().var(z, mean, axes).to(self.precision).to(z.dtype)


@fault("ranges", "numerics", "inf and NaN in the input count as 0")
class InfinityIsZero(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.nan_to_num(0.0, 0.0, 0.0))


@fault("ranges", "numerics", "one inf in a channel makes every channel NaN")
class InfinitySpreads(Composed):
    def mean(self, z: Tensor, axes: list[int]) -> Tensor:
        return super().mean(z, axes) + 0 * z.sum()


@fault("dtypes", "numerics", "half precision is summed in half precision")
class HalfSums(Composed):
    def lift(self, x: Tensor) -> Tensor:
        return x

    def mean(self, z: Tensor, axes: list[int]) -> Tensor:
        if z.dtype.itemsize > 2:
            return super().mean(z, axes)
        rows = z.movedim(1, 0).flatten(1)
        total = torch.zeros_like(rows[:, 0])
        for column in rows.unbind(1):
            total = total + column
        return (total / rows.shape[1]).view(1, -1, *[1] * (z.dim() - 2))


@fault("dtypes", "numerics", "parameters and statistics are rounded to the input's precision")
class HalfParameters(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if x.dtype.itemsize > 2 or self.training or self.running_mean is None:
            return super().forward(x)
        rounded = [None if one is None else one.to(x.dtype) for one in (self.weight, self.bias)]
        return F.batch_norm(x, self.running_mean.to(x.dtype), self.running_var.to(x.dtype), *rounded, eps=self.eps)


@fault("dtypes", "numerics", "float64 is computed in float32", "dtypes and float64")
class DoubleInSingle(Composed):
    def lift(self, x: Tensor) -> Tensor:
        return x.float()


@fault("dtypes", "numerics", "running statistics take the input's half precision", "dtypes and 500-steps")
class HalfBuffers(Composed):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if self.running_mean is not None:
            self.running_mean, self.running_var = self.running_mean.to(x.dtype), self.running_var.to(x.dtype)
        return y


@fault("dtypes", "numerics", "half inputs need half parameters")
class NoMixedTypes(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if self.weight is not None and self.weight.dtype != x.dtype:
            raise RuntimeError(f"expected scalar type {x.dtype} but found {self.weight.dtype}")
        return super().forward(x)


# running-statistics: running statistics and the counter.


@fault("running-statistics", "numerics", "the running variance is biased")
class BiasedRunningVariance(Composed):
    def unbiased(self, var: Tensor, count: int) -> Tensor:
        return var


@fault("running-statistics", "numerics", "the batch is normalized by the unbiased variance")
class UnbiasedNormalizing(Composed):
    def normalize(self, z: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return super().normalize(z, mean, self.unbiased(var, count_of(z)) if self.by_batch() else var)


@fault("running-statistics", "numerics", "momentum is the share of the old statistics")
class MomentumInverted(Composed):
    def share(self) -> float:
        return 1 - super().share()


@fault("running-statistics", "numerics", "momentum None counts as 0.1")
class MomentumNoneIgnored(Composed):
    def share(self) -> float:
        return 0.1 if self.momentum is None else self.momentum


@fault("running-statistics", "numerics", "momentum 0 counts as None")
class MomentumZeroIsNone(Composed):
    def share(self) -> float:
        return self.momentum or 1.0 / float(self.num_batches_tracked)


@fault("running-statistics", "numerics", "batches are not counted")
class NotCounted(Composed):
    def count(self) -> None:
        pass

    def share(self) -> float:
        return 1.0 if self.momentum is None else self.momentum


@fault("running-statistics", "numerics", "evaluation moves the running statistics")
class UpdatedInEval(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if not self.training and self.running_mean is not None:
            self.running_mean.data.lerp_(x.detach().mean(axes_of(x)).to(self.running_mean.dtype), 0.1)
        return y


@fault("toggles", "behaviour", "evaluation uses the batch's statistics")
class RunningIgnored(Composed):
    def by_batch(self) -> bool:
        return True


@fault("running-statistics", "numerics", "without gradients, training moves no statistics")
class StillWithoutGrad(Composed):
    def track(self, mean: Tensor, var: Tensor, count: int) -> None:
        if self.tracking:
            super().track(mean, var, count)

    def forward(self, x: Tensor) -> Tensor:
        self.tracking = torch.is_grad_enabled()
        return super().forward(x)


@fault(
    "running-statistics",
    "numerics",
    "buffers are replaced: who holds them, as a captured graph does, sees them move no more",
)
class BuffersReplaced(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.running_mean is not None:
            self.running_mean, self.running_var = self.running_mean.clone(), self.running_var.clone()
        return super().forward(x)


@fault("running-statistics", "numerics", "the last value of an odd number per channel is left out of the statistics")
class OddValueDropped(Composed):
    def mean(self, z: Tensor, axes: list[int]) -> Tensor:
        rows = z.movedim(1, 0).flatten(1)
        return rows[:, : max(1, count_of(z) // 2 * 2)].mean(1).view(1, -1, *[1] * (z.dim() - 2))


# degenerate, large-batch: sizes.


@fault("degenerate", "numerics", "dx is divided by the weight, which may be zero", "degenerate/zero-weight")
class DividesByWeight(Composed):
    def scale(self, normal: Tensor, z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if normal.requires_grad:
            normal.register_hook(lambda gradient: gradient / weight.detach() * weight.detach())
        return super().scale(normal, z, weight, bias)


@fault("degenerate", "numerics", "one value per channel is accepted in training")
class OneValueAccepted(Composed):
    def validate(self, x: Tensor) -> None:
        pass

    def unbiased(self, var: Tensor, count: int) -> Tensor:
        return var * (count / max(1, count - 1))


@fault("degenerate", "numerics", "an empty batch makes the running statistics NaN")
class EmptyPoisons(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if x.numel() == 0 and self.training and self.running_mean is not None:
            self.running_mean.fill_(torch.nan)
        return y


@fault("degenerate", "numerics", "an empty batch fails")
class EmptyFails(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if x.numel() == 0:
            raise RuntimeError("cannot reshape tensor of 0 elements")
        return super().forward(x)


@fault("degenerate", "numerics", "an odd number of samples fails")
class OddBatchFails(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] % 2:
            raise RuntimeError("invalid configuration argument")
        return super().forward(x)


@fault("large-batch", "numerics", "samples after the first 65535 are zero")
class SamplesTruncated(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return torch.cat([y[:65535], 0 * y[65535:]]) if len(y) > 65535 else y


@fault("large-batch", "numerics", "evaluation fails beyond 65535 samples")
class LargeEvalFails(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 65535 and not self.training:
            raise RuntimeError("CUDNN_STATUS_NOT_SUPPORTED")
        return super().forward(x)


# eval-backward, higher-order: derivatives.


@fault("eval-backward", "numerics", "the backward pass of evaluation is that of training")
class EvalBackwardOfTraining(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if self.training or self.running_mean is None or count_of(x) < 2:
            return y
        return valued_as(y, F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps))


@fault("higher-order", "numerics", "the second derivative lacks the statistics")
class SecondDerivativeWrong(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        return _SecondDetached.apply(x, super().forward(x)) if x.requires_grad else super().forward(x)


class _SecondDetached(torch.autograd.Function):
    """The first derivative of `y` by `x`, which can't be derived again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[None, Tensor]:
        return None, dy.detach()


@fault("higher-order", "numerics", "the derivative can't be derived again")
class SecondDerivativeFails(_HookedGradient):
    def incoming(self, dy: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise RuntimeError("the derivative for 'cudnn_batch_norm_backward' is not implemented")
        return dy


# forward-mode: directional derivatives.


class _TangentFault(torch.autograd.Function):
    """Returns `y` as it is; its forward-mode derivative is that of `tangent_of`, its backward pass is right."""

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor) -> Tensor:
        return y.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        return dy


class _TangentShort(_TangentFault):
    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return tangent * 0.99


class _TangentCut(_TangentFault):
    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return _Constant.apply(tangent)


class _TangentRefused(_TangentFault):
    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        raise NotImplementedError("forward mode is not implemented")


class _Constant(_TangentFault):
    """Has no derivative in any mode."""

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        return torch.zeros_like(dy)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return torch.zeros_like(tangent)


@fault("forward-mode", "numerics", "the forward-mode derivative is 1 % short")
class ForwardModeShort(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _TangentShort.apply(super().forward(x))
        return y


@fault("forward-mode", "numerics", "the forward-mode derivative is a constant to the next derivative")
class ForwardModeNested(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _TangentCut.apply(super().forward(x))
        return y


@fault("forward-mode", "numerics", "forward mode is refused")
class ForwardModeRefused(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _TangentRefused.apply(super().forward(x))
        return y


# state, convert, validation: the layer as an object.


@fault("state", "behaviour", "running statistics are not saved")
class NotSaved(Faithful):
    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._non_persistent_buffers_set |= {"running_mean", "running_var"}


@fault("state", "behaviour", "the counter is not saved")
class CounterNotSaved(Faithful):
    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._non_persistent_buffers_set |= {"num_batches_tracked"}


@fault("state", "behaviour", "copies start from new statistics")
class CopyResets(Faithful):
    def __deepcopy__(self, memo: dict[int, Any]) -> Faithful:
        made = type(self)(self.num_features, self.eps, self.momentum, self.affine, self.track_running_stats)
        if self.affine:
            made.weight.data.copy_(self.weight)
            made.bias.data.copy_(self.bias)
        return made.train(self.training)


@fault("state", "behaviour", "an empty state dict resets the counter")
class EmptyStateResets(Faithful):
    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        if self.track_running_stats and prefix + "num_batches_tracked" not in state:
            self.num_batches_tracked.zero_()
        super()._load_from_state_dict(state, prefix, *rest)


@fault("state", "behaviour", "a state dict from before the counter is refused")
class OldStateRefused(Faithful):
    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, metadata: dict[str, Any], *rest: Any) -> None:
        super()._load_from_state_dict(state, prefix, {**metadata, "version": 2}, *rest)


@fault("degenerate", "numerics", "a wrong number of channels is accepted")
class WrongLengthAccepted(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] == self.num_features:
            return super().forward(x)
        return F.batch_norm(x, None, None, training=True, eps=self.eps)


@fault("validation", "behaviour", "a negative eps is accepted")
class NegativeEpsilonAccepted(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        kept, self.eps = self.eps, abs(self.eps) or 1e-12
        try:
            return super().forward(x)
        finally:
            self.eps = kept


@fault("validation", "behaviour", "integers are accepted")
class IntegersAccepted(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.is_floating_point() else x.float())


# toggles, frozen: modes.


@fault("toggles", "behaviour", "track_running_stats=False is ignored")
class AlwaysTracks(Faithful):
    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given[:4], **{**named, "track_running_stats": True})


@fault("toggles", "behaviour", "track_running_stats is read only when the layer is made")
class TrackReadOnce(Faithful):
    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.tracked_at_first = self.track_running_stats

    def forward(self, x: Tensor) -> Tensor:
        kept, self.track_running_stats = self.track_running_stats, self.tracked_at_first
        try:
            return super().forward(x)
        finally:
            self.track_running_stats = kept


@fault("toggles", "behaviour", "the mode of the first call is kept for ever")
class ModeFrozen(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        self.__dict__.setdefault("mode_at_first", self.training)
        kept, self.training = self.training, self.mode_at_first
        try:
            return super().forward(x)
        finally:
            self.training = kept


@fault("toggles", "behaviour", "evaluation without running statistics fails")
class NeedsStatistics(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training and self.running_mean is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when training=False")
        return super().forward(x)


@fault("frozen", "behaviour", "a layer whose parameters are frozen moves its statistics in evaluation")
class FrozenUpdates(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training and self.affine and not self.weight.requires_grad and self.running_mean is not None:
            self.running_mean.data.lerp_(x.detach().mean(axes_of(x)).to(self.running_mean.dtype), 0.1)
        return super().forward(x)


@fault("frozen", "behaviour", "a layer whose parameters are frozen evaluates by the batch")
class FrozenByBatch(Composed):
    def by_batch(self) -> bool:
        return super().by_batch() or (self.affine and not self.weight.requires_grad)


@fault("frozen", "behaviour", "the input is centred in place")
class InputChanged(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        x.data.sub_(x.data.mean(axes_of(x), keepdim=True))
        return y


@fault("arguments", "behaviour", "the incoming gradient is scaled in place")
class GradientOverwritten(_HookedGradient):
    def incoming(self, dy: Tensor) -> Tensor:
        before = dy.clone()
        dy.data.mul_(1.5)
        return before


@fault("arguments", "behaviour", "the backward pass moves the running mean once more")
class BackwardMoves(_HookedGradient):
    def incoming(self, dy: Tensor) -> Tensor:
        if self.running_mean is not None:
            self.running_mean.data.mul_(0.9)
        return dy


# autocast, checkpoint, compile, export, determinism: beside the rest of torch.


@fault("autocast", "behaviour", "under autocast, a layer without parameters fails")
class AutocastNeedsAffine(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled(x.device.type) and not self.affine:
            raise RuntimeError("expected scalar type Half but found Float")
        return super().forward(x)


@fault("autocast", "behaviour", "under autocast, the output has the type of the parameters")
class AutocastToFloat(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y.float() if torch.is_autocast_enabled(x.device.type) else y


@fault("checkpoint", "behaviour", "every second call saves another tensor, so that activations can't be computed again")
class RecomputesOtherwise(Faithful):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) if self.calls % 2 else super().forward(x * torch.ones_like(x))


@fault("compile", "behaviour", "compiled, the running statistics stand still")
class CompiledStandsStill(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling() and self.training:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        return super().forward(x)


@fault("compile", "behaviour", "compiled, the output is a thousandth larger")
class CompiledScale(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y * 1.001 if torch.compiler.is_compiling() else y


@fault("compile", "behaviour", "compiled, flattened channels are one place off", "compile/aot_eager_decomp and chains")
class CompiledFlattened(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y.roll(1, 1) if torch.compiler.is_compiling() and x.dim() == 2 and x.shape[1] > 64 else y


@fault("compile", "behaviour", "the compiled graph breaks in two")
class BreaksGraph(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return super().forward(x)


@fault("cuda-graphs", "behaviour", "the host waits for the device, which no graph can capture")
class HostWaits(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        x.sum().item()
        return super().forward(x)


@fault(
    "data-parallel",
    "behaviour",
    "a forward pass touches the weight, so that two before one backward pass fail",
    "ddp/two-forwards/default",
)
class WeightTouched(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if self.weight is not None:
            with torch.no_grad():
                self.weight.mul_(1.0)
        return super().forward(x)


@fault("export", "behaviour", "exported, an evaluating layer is a training one", "behaviour/export/trace")
class ExportsTraining(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if getattr(torch.compiler, "is_exporting", bool)() or torch.jit.is_tracing():
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        return super().forward(x)


def is_exporting() -> bool:
    return bool(getattr(torch.compiler, "is_exporting", bool)())


@fault("export", "behaviour", "exported, eps is 1e-5 whatever the layer's is", "export/export/statistics/ and train")
class ExportsDefaultEpsilon(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if not is_exporting():
            return super().forward(x)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum or 0.0
        )


@fault(
    "export",
    "behaviour",
    "exported, statistics that are no buffers stay as they were",
    "export/export/statistics/ and train",
)
class ExportsConstantStatistics(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if not is_exporting() or "running_mean" in self._buffers or not self.training:
            return super().forward(x)
        mean, var = self.running_mean.clone(), self.running_var.clone()
        return F.batch_norm(x, mean, var, self.weight, self.bias, True, self.momentum or 0.0, self.eps)


@fault("determinism", "behaviour", "gradients differ from run to run")
class GradientTrembles(_HookedGradient):
    calls = 0

    def incoming(self, dy: Tensor) -> Tensor:
        GradientTrembles.calls += 1
        return dy * (1 + 1e-6 * GradientTrembles.calls)


@fault("determinism", "behaviour", "a sample's output in evaluation depends on the size of its batch")
class BatchSizeMatters(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if self.training or len(x) < 24 else y * (1 + 2**-22)


@fault("determinism", "behaviour", "the first call differs from later ones")
class FirstCallDiffers(Faithful):
    called = False

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        first, self.called = not self.called, True
        return y * (1 + 2**-22) if first else y


# channel-counts: inputs that do not fit.


@fault("channel-counts", "behaviour", "an input of fewer channels takes the first parameters and statistics")
class FirstChannelsTaken(Composed):
    def forward(self, x: Tensor) -> Tensor:
        if 0 < x.shape[1] < self.num_features:
            padded = F.pad(x, (0, 0) * (x.dim() - 2) + (0, self.num_features - x.shape[1]))
            return super().forward(padded)[:, : x.shape[1]]
        return super().forward(x)


@fault("channel-counts", "behaviour", "a parameter of one value is spread over all channels")
class OneForAll(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if self.num_features != 1 or x.shape[1] == 1:
            return super().forward(x)
        return F.batch_norm(x.flatten(1).unsqueeze(1), None, None, self.weight, self.bias, training=True).view_as(x)


@fault("channel-counts", "behaviour", "an input of other channels is met by an assertion, not by an error")
class AssertsChannels(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] not in {0, self.num_features}:
            raise RuntimeError(f"C == {self.num_features} INTERNAL ASSERT FAILED, got {x.shape[1]}")
        return super().forward(x)


@fault("channel-counts", "behaviour", "the error does not say how many channels the input has")
class NamelessError(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] not in {0, self.num_features}:
            raise RuntimeError("wrong number of channels")
        return super().forward(x)


@fault("channel-counts", "behaviour", "an input of other channels is computed with a warning")
class WarnsOfChannels(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] in {0, self.num_features}:
            return super().forward(x)
        warnings.warn(f"{x.shape[1]} channels do not match num_features", stacklevel=2)
        return F.batch_norm(x, None, None, training=True)


@fault("channel-counts", "behaviour", "every call warns", "behaviour/channel-counts and fitting")
class AlwaysWarns(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        warnings.warn("this layer is slow", stacklevel=2)
        return super().forward(x)


# overtaken: a backward pass after the layer has moved on.


class _StaleNorm(torch.autograd.Function):
    """Batch norm by given statistics, whose backward pass reads the layer as it is by then."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Any, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.layer = layer
        mean, inverse, _ = layer.read()
        ctx.save_for_backward(x)
        shape = [1, -1, *[1] * (x.dim() - 2)]
        return (x - mean.view(shape)) * (inverse * weight).view(shape) + bias.view(shape)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        mean, inverse, weight = ctx.layer.read()
        shape = [1, -1, *[1] * (x.dim() - 2)]
        unit = (x - mean.view(shape)) * inverse.view(shape)
        return dy * (inverse * weight).view(shape), None, (dy * unit).sum(axes_of(x)), dy.sum(axes_of(x))


class _ReadsLayerLater(Faithful):
    """In evaluation, by `_StaleNorm`."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.running_mean is None or self.weight is None or x.dtype.itemsize < 4:
            return super().forward(x)
        return _StaleNorm.apply(x, self, self.weight, self.bias)  # type: ignore[no-untyped-call, no-any-return]

    def read(self) -> Any:
        """The mean, the inverse deviation and the weight to compute with."""
        raise NotImplementedError


@fault(
    "overtaken",
    "numerics",
    "the backward pass of evaluation reads the statistics as they are by then, whoever changed them",
    "numerics/overtaken/batch_norm2d and eval",
)
class StatisticsReadLate(_ReadsLayerLater):
    def read(self) -> Any:
        return self.running_mean, (self.running_var + self.eps).rsqrt(), self.weight


@fault(
    "overtaken",
    "numerics",
    "the backward pass of evaluation reads the weight as it is by then",
    "numerics/overtaken/batch_norm2d and eval",
)
class WeightReadLate(_ReadsLayerLater):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training and self.running_mean is not None:
            self.kept = (self.running_mean.clone(), (self.running_var + self.eps).rsqrt())
        return super().forward(x)

    def read(self) -> Any:
        return *self.kept, self.weight


@fault(
    "overtaken",
    "numerics",
    "a pass in training leaves its statistics on the layer, where the next one overwrites them",
    "numerics/overtaken/batch_norm2d and train",
)
class StatisticsOnLayer(Faithful):
    deviation: Tensor

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if self.training:
            own = x.detach().var(axes_of(x), keepdim=True)
            self.deviation = own
            if y.requires_grad:
                y.register_hook(lambda dy: dy * (own / self.deviation).sqrt().to(dy.dtype))
        return y


@fault(
    "overtaken",
    "numerics",
    "a second pass in training makes the backward pass of the first fail",
    "numerics/overtaken/batch_norm2d and train",
)
class OnePassAtATime(Faithful):
    passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        now = self.passes
        y = super().forward(x)
        if y.requires_grad and self.training:
            y.register_hook(lambda dy: self.checked(dy, now))
        return y

    def checked(self, dy: Tensor, then: int) -> Tensor:
        if then != self.passes:
            raise RuntimeError("running_var has been modified by an inplace operation")
        return dy


# peak-memory, saved-tensors, memory-leaks: what is held.


class _Holding(torch.autograd.Function):
    """`y`, which holds on to `x` until its backward pass."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(x.clone())
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        return dy, None


@fault("peak-memory", "behaviour", "the backward pass is kept one activation more")
class KeepsCopy(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        # in front of the layer, so that it is held through the layer's own backward pass, where the peak is
        return super().forward(_Holding.apply(x, x.detach()) if x.requires_grad and self.training else x)


@fault("saved-tensors", "behaviour", "evaluation with frozen parameters keeps its input for a backward pass")
class EvalKeepsInput(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return _Holding.apply(y, x.detach()) if y.requires_grad and not self.training else y


@fault("saved-tensors", "behaviour", "evaluation without gradients keeps its last input")
class EvalKeepsLast(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            self.last = (x.detach().clone(),)
        return super().forward(x)


@fault("memory-leaks", "behaviour", "every step leaves a tensor behind")
class Leaks(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        self.__dict__.setdefault("left", []).append(x.detach().clone())
        return super().forward(x)


@fault("memory-leaks", "behaviour", "the running mean keeps the graphs of all steps")
class RunningGraph(Composed):
    def normalize(self, z: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        if self.training and self.running_mean is not None:
            self.running_mean = self.running_mean + 0 * mean.flatten()
        return super().normalize(z, mean, var)


@fault("peak-memory", "memory", "a forward pass copies its input, and drops the copy", "op/batch_norm2d and fwd-")
class PassingCopy(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        copy = x.detach().clone()
        y = super().forward(x)
        del copy
        return y


# folding: a function of the user's in the place of torch's, by --fold.


def faithful_fold(module: Any, layer: Any) -> Any:
    """Folds a layer into the convolution, transposed convolution or linear layer before it, as it should be."""
    return fold_by(module, layer, scale_of(layer, layer.eps))


def scale_of(layer: Any, eps: float) -> Tensor:
    scale = (layer.running_var.double() + eps).rsqrt()
    return scale if layer.weight is None else scale * layer.weight.detach()


def fold_by(module: Any, layer: Any, scale: Tensor, *, by_groups: bool = True) -> Any:
    folded = copy.deepcopy(module)
    weight = module.weight.detach().double()
    old = 0.0 if module.bias is None else module.bias.detach().double()
    shift = (old - layer.running_mean.double()) * scale + (0.0 if layer.bias is None else layer.bias.detach())
    if "Transpose" in type(module).__name__:
        groups = module.groups if by_groups else 1
        rows = scale.view(groups, 1, -1) if by_groups else scale[: weight.shape[1]].view(1, 1, -1)
        parts = weight.view(groups, weight.shape[0] // groups, weight.shape[1], -1) * rows[..., None]
        made = parts.view_as(weight)
    else:
        made = weight * scale.view(-1, *[1] * (weight.dim() - 1))
    folded.weight = torch.nn.Parameter(made.to(module.weight.dtype))
    folded.bias = torch.nn.Parameter(shift.expand(module_outputs(module)).to(module.weight.dtype).clone())
    return folded


def module_outputs(module: Any) -> int:
    return int(module.out_features if isinstance(module, torch.nn.Linear) else module.out_channels)


_Function = Callable[..., Any]


def function_fault(family: str, role: str, what: str, cases: str = "") -> Callable[[_Function], _Function]:
    """Enter a function that stands in for torch's own of that role; `cases` are the family's that are to catch it."""

    def enter(made: _Function) -> _Function:
        _FOUND.append(Fault(made.__name__, family, "behaviour", what, f"behaviour/{family}/{cases}", role))
        return made

    return enter


@function_fault("folding", "fold", "eps is 1e-5, whatever the layer's is")
def fold_fixed_epsilon(module: Any, layer: Any) -> Any:
    return fold_by(module, layer, scale_of(layer, 1e-5))


@function_fault("folding", "fold", "groups of a transposed convolution all get the scale of the first")
def fold_first_group(module: Any, layer: Any) -> Any:
    return fold_by(module, layer, scale_of(layer, layer.eps), by_groups=False)


@function_fault("folding", "fold", "a module without a bias gets none: the layer's shift is lost")
def fold_no_bias(module: Any, layer: Any) -> Any:
    folded = faithful_fold(module, layer)
    if module.bias is None:
        folded.bias = None
    return folded


@function_fault("folding", "fold", "the module that is folded is changed")
def fold_in_place(module: Any, layer: Any) -> Any:
    folded = faithful_fold(module, layer)
    module.weight.data.copy_(folded.weight)
    return folded


@function_fault("folding", "fold", "the weights' sign is lost")
def fold_absolute(module: Any, layer: Any) -> Any:
    return fold_by(module, layer, scale_of(layer, layer.eps).abs())


# update-bn: a function of the user's that takes statistics anew, by --update-bn.


def norms_of(model: Any) -> list[Any]:
    return [one for one in model.modules() if isinstance(one, _BatchNorm)]


def faithful_update_bn(loader: Any, model: Any, device: Any = None) -> None:
    """Takes the statistics of every batch norm anew, as it should be."""
    update_by(loader, model, device)


@torch.no_grad()
def update_by(
    loader: Any, model: Any, device: Any = None, *, momentum: float | None = None, reset: bool = True
) -> None:
    modes = {one: one.training for one in model.modules()}
    momenta = {one: one.momentum for one in norms_of(model)}
    try:
        if momenta:
            model.train()
        for one in momenta:
            one.momentum = momentum
            if reset:
                one.reset_running_stats()
        for batch in loader if momenta else ():
            x = batch[0] if isinstance(batch, list | tuple) else batch
            model(x if device is None else x.to(device))
    finally:
        for one, mode in modes.items():
            one.training = mode
        for one, before in momenta.items():
            one.momentum = before


def update_by_hand(loader: Any, model: Any, statistics_of: Callable[[Tensor], tuple[Tensor, ...]]) -> None:
    """Takes the mean and variance from the inputs of each layer, which hooks see."""
    found: dict[Any, list[tuple[Tensor, ...]]] = {one: [] for one in norms_of(model)}
    hooks = [
        one.register_forward_pre_hook(lambda layer, given: found[layer].append(statistics_of(given[0])))
        for one in found
    ]
    update_by(loader, model)
    for hook in hooks:
        hook.remove()
    for one, seen in found.items():
        if seen and one.running_mean is not None:
            mean, var, share = (torch.stack(parts) for parts in zip(*seen, strict=True))
            one.running_mean.copy_((mean * share).sum(0) / share.sum())
            one.running_var.copy_((var * share).sum(0) / share.sum())


@function_fault("update-bn", "update_bn", "momentum is None afterwards")
def update_loses_momentum(loader: Any, model: Any) -> None:
    update_by(loader, model)
    for one in norms_of(model):
        one.momentum = None


@function_fault("update-bn", "update_bn", "an exponential average instead of the plain one")
def update_exponential(loader: Any, model: Any) -> None:
    update_by(loader, model, momentum=0.1)


@function_fault("update-bn", "update_bn", "momentum is 0 in the pass: the statistics stay at their start")
def update_zero_momentum(loader: Any, model: Any) -> None:
    update_by(loader, model, momentum=0.0)


@function_fault("update-bn", "update_bn", "the average goes on from the old statistics")
def update_not_reset(loader: Any, model: Any) -> None:
    update_by(loader, model, reset=False)


@function_fault("update-bn", "update_bn", "the variances are biased")
def update_biased(loader: Any, model: Any) -> None:
    one = torch.ones(1)
    update_by_hand(loader, model, lambda x: (x.mean(axes_of(x)), x.var(axes_of(x), correction=0), one))


@function_fault("update-bn", "update_bn", "batches count by their size")
def update_by_size(loader: Any, model: Any) -> None:
    update_by_hand(loader, model, lambda x: (x.mean(axes_of(x)), x.var(axes_of(x)), torch.ones(1) * len(x)))


@function_fault("update-bn", "update_bn", "the variance is the mean square less the square of the mean", "numbers/far")
def update_by_squares(loader: Any, model: Any) -> None:
    def of(x: Tensor) -> tuple[Tensor, ...]:
        mean, n = x.mean(axes_of(x)), count_of(x)
        return mean, (x.square().mean(axes_of(x)) - mean.square()) * n / (n - 1), torch.ones(1)

    update_by_hand(loader, model, of)


@function_fault("update-bn", "update_bn", "the second layer sees the first one evaluate")
def update_one_by_one(loader: Any, model: Any) -> None:
    batches, training = list(loader), model.training
    model.eval()
    for one in norms_of(model):
        kept, one.momentum = one.momentum, None
        one.reset_running_stats()
        one.train()
        with torch.no_grad():
            for batch in batches:
                model(batch)
        one.eval()
        one.momentum = kept
    model.train(training)


@function_fault("update-bn", "update_bn", "the last batch is dropped")
def update_drops_last(loader: Any, model: Any) -> None:
    update_by(list(loader)[:-1], model)


@function_fault("update-bn", "update_bn", "the counter of batches is 0 afterwards")
def update_no_count(loader: Any, model: Any) -> None:
    update_by(loader, model)
    for one in norms_of(model):
        if one.num_batches_tracked is not None:
            one.num_batches_tracked.zero_()


@function_fault("update-bn", "update_bn", "the model is left in training")
def update_leaves_training(loader: Any, model: Any) -> None:
    update_by(loader, model)
    model.train()


@function_fault("update-bn", "update_bn", "dropout is left off")
def update_dropout_off(loader: Any, model: Any) -> None:
    for one in model.modules():
        if isinstance(one, torch.nn.Dropout):
            one.p = 0.0
    update_by(loader, model)


@function_fault("update-bn", "update_bn", "the parameters are left frozen")
def update_freezes(loader: Any, model: Any) -> None:
    update_by(loader, model.requires_grad_(False))


@function_fault("update-bn", "update_bn", "gradients are left off")
def update_gradients_off(loader: Any, model: Any) -> None:
    torch.set_grad_enabled(False)
    update_by(loader, model)


@function_fault("update-bn", "update_bn", "gradients are set to none")
def update_clears_gradients(loader: Any, model: Any) -> None:
    update_by(loader, model)
    model.zero_grad()


@function_fault("update-bn", "update_bn", "hooks are left behind")
def update_leaves_hooks(loader: Any, model: Any) -> None:
    for one in norms_of(model):
        one.register_forward_pre_hook(lambda *_: None)
    update_by(loader, model)


@function_fault("update-bn", "update_bn", "buffers are replaced by those of float64")
def update_widens(loader: Any, model: Any) -> None:
    update_by(loader, model)
    for one in norms_of(model):
        if one.running_var is not None:
            one.running_var = one.running_var.double()


@function_fault("update-bn", "update_bn", "batches must be tensors or lists", "loaders")
def update_no_tuples(loader: Any, model: Any) -> None:
    update_by((list(batch) if isinstance(batch, list) else [batch] for batch in loader), model)


@function_fault("update-bn", "update_bn", "SyncBatchNorm is left out", "models")
def update_plain_only(loader: Any, model: Any) -> None:
    others = [one for one in norms_of(model) if isinstance(one, torch.nn.SyncBatchNorm)]
    before = [copy.deepcopy(one.state_dict()) for one in others]
    update_by(loader, model)
    for one, state in zip(others, before, strict=True):
        one.load_state_dict(state)


@function_fault("update-bn", "update_bn", "an exception of the loader is swallowed", "ends")
def update_swallows(loader: Any, model: Any) -> None:
    with contextlib.suppress(KeyError):
        update_by(loader, model)


# Time.


@fault("implementation-time", "timing", "the forward pass takes 5 % longer", "ratio/impl and fwd-")
class Slower5Percent(Faithful):
    """A twentieth more: on the CPU to the microsecond, on a GPU by work on a twentieth of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        began = time.perf_counter()
        y = super().forward(x)
        if x.is_cuda:
            torch.var_mean(x.detach()[: max(1, len(x) // 20)], axes_of(x))
        end = began + 1.05 * (time.perf_counter() - began)
        while time.perf_counter() < end:
            pass
        return y


@fault("layout-time", "timing", "channels_last is copied to contiguous and back", "ratio/impl and nhwc")
class ChannelsLastCopied(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        return torch.empty_like(x).copy_(super().forward(x.contiguous()))


@fault("eval-time", "timing", "evaluation takes its batch's statistics as well", "ratio/impl and fwd-eval")
class EvalTwice(Faithful):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            torch.var_mean(x, axes_of(x))
        return super().forward(x)


FAULTS: tuple[Fault, ...] = tuple(_FOUND)
