"""What a diagnosis finds, as data; ``report/diagnosis.py`` words it."""

from __future__ import annotations

from dataclasses import dataclass, field

from bnsuite.cases.refusals import Refusal

#: The most basic comes first.
STAGES = ("shape", "value", "gradient", "statistics", "state", "mode")


@dataclass(frozen=True)
class Deviation:
    """One way in which a layer differs from batch norm."""

    #: One of STAGES.
    stage: str
    #: A name for the difference, such as ``denominator``.
    code: str
    data: dict[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Diagnosis:
    """The ways in which an implementation differs from batch norm, the most basic first, and what it refuses."""

    #: The input that was looked at, such as ``(N, C, H, W) contiguous float32``; None if every input is refused.
    looked_at: str | None
    refusals: tuple[Refusal, ...]
    deviations: tuple[Deviation, ...]
