"""The kernels of SyncBatchNorm, which the CPU does not have, as formulas: (N, C, ...) in, statistics (C,)."""

from __future__ import annotations

from typing import Any

import torch

aten = torch.ops.aten


def _axes(x: torch.Tensor) -> list[int]:
    return [axis for axis in range(x.dim()) if axis != 1]


def _wide(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return values.view(1, -1, *[1] * (x.dim() - 2))


def _lifted(x: torch.Tensor) -> torch.Tensor:
    """Returns numbers in the precision in which a GPU adds them."""
    return x if x.dtype == torch.float64 else x.float()


def stats(x: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    lifted = _lifted(x)
    var, mean = torch.var_mean(lifted, _axes(x), correction=0)
    return mean, (var + eps).rsqrt()


def gather(  # noqa: PLR0917  # as torch's
    x: torch.Tensor,
    mean: torch.Tensor,
    invstd: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    momentum: float,
    eps: float,
    counts: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    share = (counts.view(-1, 1) / counts.sum()).to(mean.dtype)
    whole = (share * mean).sum(0)
    var = (share * (invstd.pow(-2) - eps + (mean - whole).square())).sum(0)
    if running_mean is not None and running_var is not None:
        total = counts.sum()
        running_mean.mul_(1 - momentum).add_(momentum * whole)
        running_var.mul_(1 - momentum).add_(momentum * var * (total / (total - 1)))
    return whole, (var + eps).rsqrt()


def elemt(  # noqa: PLR0917  # as torch's
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    mean: torch.Tensor,
    invstd: torch.Tensor,
    eps: float,
) -> torch.Tensor:
    y = (_lifted(x) - _wide(mean, x)) * _wide(invstd, x)
    y = y if weight is None else y * _wide(weight, x)
    y = y if bias is None else y + _wide(bias, x)
    return y.to(x.dtype)


def backward_reduce(  # noqa: PLR0917  # as torch's
    dy: torch.Tensor,
    x: torch.Tensor,
    mean: torch.Tensor,
    invstd: torch.Tensor,
    weight: torch.Tensor | None,
    input_g: bool,
    weight_g: bool,
    bias_g: bool,
) -> tuple[Any, ...]:
    lifted = _lifted(dy)
    total = lifted.sum(_axes(x))
    along = (lifted * (_lifted(x) - _wide(mean, x))).sum(_axes(x))
    dweight = (along * invstd).to(mean.dtype if weight is None else weight.dtype) if weight_g else None
    dbias = total.to(mean.dtype if weight is None else weight.dtype) if bias_g else None
    return total, along, dweight, dbias


def backward_elemt(  # noqa: PLR0917  # as torch's
    dy: torch.Tensor,
    x: torch.Tensor,
    mean: torch.Tensor,
    invstd: torch.Tensor,
    weight: torch.Tensor | None,
    total: torch.Tensor,
    along: torch.Tensor,
    counts: torch.Tensor,
) -> torch.Tensor:
    count = counts.sum()
    inner = _lifted(dy) - _wide(total / count, x)
    inner = inner - (_lifted(x) - _wide(mean, x)) * _wide(invstd.square() * along / count, x)
    inner = inner * _wide(invstd, x)
    inner = inner if weight is None else inner * _wide(weight, x)
    return inner.to(x.dtype)


KERNELS: dict[Any, Any] = {
    aten.batch_norm_stats: stats,
    aten.batch_norm_gather_stats_with_counts: gather,
    aten.batch_norm_elemt: elemt,
    aten.batch_norm_backward_reduce: backward_reduce,
    aten.batch_norm_backward_elemt: backward_elemt,
}
