"""Checks of outputs, gradients and statistics against float64 or a closed form: one module per family."""

from __future__ import annotations

from bnsuite.cases.checks.numerics import (
    constant_slices,
    degenerate,
    dtypes,
    eval_backward,
    forward_mode,
    higher_order,
    large_batch,
    large_tensor,
    offsets,
    other_norms,
    overtaken,
    ranges,
    reference,
    running_statistics,
    strides,
)

#: Each has ``cases()``.
FAMILIES = (
    strides,
    reference,
    offsets,
    ranges,
    dtypes,
    running_statistics,
    degenerate,
    large_batch,
    large_tensor,
    eval_backward,
    higher_order,
    forward_mode,
    other_norms,
    constant_slices,
    overtaken,
)
