"""What the layer does to its state, to memory and beside the rest of torch: a module a family of defects."""

from __future__ import annotations

from bnsuite.cases.checks.behaviour import (
    autocast,
    checkpointed,
    compiled,
    converted,
    determinism,
    exported,
    footprint,
    frozen,
    graphs,
    ranks,
    state,
    toggles,
    validity,
)

#: Each has ``cases()``.
FAMILIES = (
    compiled,
    converted,
    checkpointed,
    state,
    toggles,
    frozen,
    autocast,
    graphs,
    validity,
    determinism,
    footprint,
    ranks,
    exported,
)
