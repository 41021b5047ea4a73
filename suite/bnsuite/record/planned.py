"""The plan of a run: how long each of its stages is expected to take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: The stages of a run, in the order in which they are measured; what has to be confirmed is not known before.
STAGES = ("kernels", "checks", "trainings", "timing")
CONFIRMING = "confirming"


@dataclass(frozen=True)
class StagePlan:
    """A stage by plan: its measurements, and the seconds that it takes with all its processes."""

    measurements: int
    seconds: float
    #: The share of the seconds that an earlier run or a baseline has told.
    known: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """The plan of a run by stage, for the stages in which anything is measured."""

    stages: Mapping[str, StagePlan]
    launches: int
    seeds: int

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages.values())

    @property
    def known(self) -> float:
        """The share of all seconds that was not taken from allowances."""
        return sum(stage.known * stage.seconds for stage in self.stages.values()) / (self.seconds or 1.0)

    def within(self, budget_s: float | None) -> dict[str, float]:
        """Returns the seconds of each stage: as planned, or its share of a budget that is too small for all."""
        scale = 1.0 if budget_s is None or self.seconds <= budget_s else budget_s / self.seconds
        return {name: stage.seconds * scale for name, stage in self.stages.items()}
