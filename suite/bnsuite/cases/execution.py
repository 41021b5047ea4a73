"""The ways a step can be executed, and the time of it that is judged. A case declares both."""

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
    #: With the algorithms of convolutions that cuDNN's benchmark mode finds.
    BENCHMARKED = "benchmarked"


class TimedBy(str, Enum):
    """The time of a step that is judged; on a CPU the two are one."""

    #: The time that the device works, without the time that the host takes to launch the work.
    DEVICE = "device"
    #: The time from the begin of a step to the end of its work on the device, waiting for the host included.
    ELAPSED = "elapsed"
