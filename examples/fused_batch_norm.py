"""A batch norm of one's own: a C kernel for training on contiguous float32, torch's operator in evaluation.

Judge it in the place of torch's layer with

    bnsuite --device cpu --impl examples/fused_batch_norm.py:FusedBatchNorm

It declares in `supports` what it is made for: other cases are SKIPPED with that reason.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

SOURCE = Path(__file__).with_name("fused_batch_norm.c")
FLAGS = ("-O3", "-march=native", "-fPIC", "-shared")


@cache
def kernel() -> ctypes.CDLL:
    """The compiled kernel, made once a source."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fused-batch-norm"
    library = folder / f"{digest}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / "kernel.so"
            subprocess.run(["cc", *FLAGS, "-o", str(made), str(SOURCE), "-lm"], check=True)
            made.replace(library)
    return ctypes.CDLL(str(library))


def address(tensor: torch.Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def sizes(x: torch.Tensor) -> tuple[ctypes.c_size_t, ...]:
    """(N, C, S) of (N, C, ...)."""
    n, c = x.shape[:2]
    return tuple(map(ctypes.c_size_t, (n, c, x.numel() // (n * c))))


class Fused(torch.autograd.Function):
    """y, mean and variance of a batch; the gradients of x, weight and bias."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: Any, bias: Any, eps: float) -> tuple[torch.Tensor, ...]:
        y = torch.empty_like(x)
        mean, var, invstd = (x.new_empty(x.shape[1]) for _ in range(3))  # (C,)
        pointers = map(address, (x, y, weight, bias, mean, var, invstd))
        kernel().forward(*pointers, *sizes(x), ctypes.c_float(eps))
        ctx.save_for_backward(x, weight, mean, invstd)
        ctx.mark_non_differentiable(mean, var)
        return y, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, mean, invstd = ctx.saved_tensors
        dx, dy = torch.empty_like(x), dy.contiguous()
        dweight, dbias = torch.empty_like(mean), torch.empty_like(mean)
        pointers = map(address, (x, dy, dx, weight, mean, invstd, dweight, dbias))
        kernel().backward(*pointers, *sizes(x))
        return dx, *((None, None) if weight is None else (dweight, dbias)), None


class FusedBatchNorm(_BatchNorm):
    """The layer, with torch's arguments and state, for inputs (N, C, ...)."""

    #: Read by bnsuite; what is not named (dimensions, arguments) is supported as torch's layer does.
    supports = {"dtypes": ["float32"], "devices": ["cpu"], "layouts": ["contiguous"]}  # noqa: RUF012

    def _check_input_dim(self, x: torch.Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"expected at least (N, C), got {x.dim()} dimensions")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        by_batch = self.training or self.running_mean is None
        if not by_batch:
            return super().forward(x)
        self._check_input_dim(x)
        if x.dtype != torch.float32 or not x.is_contiguous() or x.device.type != "cpu":
            raise NotImplementedError("it normalizes contiguous float32 on a CPU")
        count = x.numel() // max(x.shape[1], 1)
        if x.shape[1] != self.num_features or count < 2:
            return super().forward(x)  # torch's own errors, and an empty batch
        y, mean, var = Fused.apply(x, self.weight, self.bias, self.eps)
        if self.training and self.track_running_stats and self.running_mean is not None:
            self.num_batches_tracked.add_(1)
            share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(var * (count / (count - 1)), share)
        return y
