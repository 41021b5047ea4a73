"""Checks of state, memory, and the rest of torch around the layer: one module or package per family."""

from __future__ import annotations

from bnsuite.cases.checks.behaviour import (
    arguments,
    autocast,
    channel_counts,
    checkpoint,
    compile,  # noqa: A004  # the family is called so
    cuda_graphs,
    data_parallel,
    determinism,
    export,
    folding,
    frozen,
    memory_leaks,
    other_norms,
    peak_memory,
    saved_tensors,
    state,
    sync_batch_norm,
    sync_conversion,
    toggles,
    update_bn,
    validation,
)

#: Each has ``cases()``.
FAMILIES = (
    compile,
    sync_conversion,
    channel_counts,
    checkpoint,
    state,
    toggles,
    frozen,
    folding,
    update_bn,
    arguments,
    autocast,
    cuda_graphs,
    validation,
    determinism,
    peak_memory,
    saved_tensors,
    memory_leaks,
    data_parallel,
    sync_batch_norm,
    export,
    other_norms,
)
