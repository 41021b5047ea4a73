"""The ways a step can be executed. A case declares one; the measuring side applies it."""

from __future__ import annotations

from enum import Enum


class Execution(str, Enum):
    """One way of running a step; all but EAGER exist on a GPU only."""

    EAGER = "eager"
    #: With cuDNN disabled, by torch's own kernels.
    NATIVE = "native"
    #: Through ``torch.compile``, when the case is built.
    COMPILED = "compiled"
    #: With the last-level cache emptied before every round.
    COLD = "cold"
    #: Replayed from a captured graph.
    GRAPH = "graph"
