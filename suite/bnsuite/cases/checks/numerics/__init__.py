"""Outputs, gradients and statistics against float64 or a closed form: a module a family of defects."""

from __future__ import annotations

from bnsuite.cases.checks.numerics import (
    accuracy,
    degenerate,
    dtypes,
    eval_backward,
    higher_order,
    large,
    offsets,
    ranges,
    running,
    strides,
)

#: Each has ``cases()``.
FAMILIES = (strides, accuracy, offsets, ranges, dtypes, running, degenerate, large, eval_backward, higher_order)
