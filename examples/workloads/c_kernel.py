"""A kernel in C: RMS norm over rows, compiled when this file is imported and called through ctypes.

bnsuite --device cpu --workload examples/workloads/c_kernel.py

The kernel is made for float32 and for float64, so that its values can be checked against themselves in float64.
"""

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

ROWS, WIDTH, EPS = 256, 512, 1e-6

#: y = x w / r and its gradients, with r the root of the mean square of a row: x (n, c), w (c), scale = 1 / r (n).
SOURCE = r"""
#include <math.h>
#include <stddef.h>

#define KERNELS(real)                                                                                    \
void forward_##real(const real *x, const real *w, real *y, real *scale, size_t n, size_t c, double eps) { \
    for (size_t i = 0; i < n; i++, x += c, y += c) {                                                     \
        double sum = 0;                                                                                  \
        for (size_t j = 0; j < c; j++) sum += (double)x[j] * x[j];                                       \
        scale[i] = (real)(1 / sqrt(sum / c + eps));                                                      \
        for (size_t j = 0; j < c; j++) y[j] = x[j] * scale[i] * w[j];                                    \
    }                                                                                                    \
}                                                                                                        \
void backward_##real(const real *x, const real *w, const real *dy, const real *scale, real *dx,           \
                     double *dw, size_t n, size_t c) {                                                   \
    for (size_t i = 0; i < n; i++, x += c, dy += c, dx += c) {                                           \
        double sum = 0, s = scale[i];                                                                    \
        for (size_t j = 0; j < c; j++) {                                                                 \
            sum += (double)w[j] * dy[j] * x[j];                                                          \
            dw[j] += dy[j] * (x[j] * s);                                                                 \
        }                                                                                                \
        for (size_t j = 0; j < c; j++) dx[j] = (real)(s * (w[j] * dy[j] - x[j] * s * s * sum / c));      \
    }                                                                                                    \
}

KERNELS(float)
KERNELS(double)
"""


def compiled() -> ctypes.CDLL:
    """The library, whose file is gone once it is loaded."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("there is no C compiler (cc) on the PATH; install one, such as gcc")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "kernel.so"
        command = [compiler, "-O3", "-fPIC", "-shared", "-x", "c", "-", "-o", str(library), "-lm"]
        done = subprocess.run(command, input=SOURCE, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{compiler} fails: {done.stderr.strip().splitlines()[:1]}")
        return ctypes.CDLL(str(library))


LIBRARY = compiled()


def launch(name: str, x: torch.Tensor, *tensors: torch.Tensor, eps: float | None = None) -> None:
    """Call a kernel of the dtype of `x` (n, c), which is the first of its tensors."""
    kernel = getattr(LIBRARY, f"{name}_{'double' if x.dtype == torch.float64 else 'float'}")
    pointers = [ctypes.c_void_p(one.data_ptr()) for one in (x, *tensors)]
    kernel(*pointers, *map(ctypes.c_size_t, x.shape), *([] if eps is None else [ctypes.c_double(eps)]))


class RmsNorm(torch.autograd.Function):
    """The operator, for contiguous tensors on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        y, scale = torch.empty_like(x), x.new_empty(len(x))
        launch("forward", x, weight, y, scale, eps=EPS)
        ctx.save_for_backward(x, weight, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, weight, scale = ctx.saved_tensors
        dx, dweight = torch.empty_like(x), x.new_zeros(weight.shape, dtype=torch.float64)
        launch("backward", x, weight, dy.contiguous(), scale, dx, dweight)
        return dx, dweight.to(weight.dtype)


class Model(nn.Module):
    """The layer: one weight per column."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type != "cpu" or x.dtype not in {torch.float32, torch.float64}:
            raise ValueError(f"made for float32 and float64 on a CPU, not for {x.dtype} on {x.device.type}")
        return RmsNorm.apply(x.contiguous(), self.weight)  # type: ignore[no-any-return]


def get_inputs() -> list[torch.Tensor]:
    return [torch.randn(ROWS, WIDTH)]


def get_init_inputs() -> list[int]:
    return [WIDTH]
