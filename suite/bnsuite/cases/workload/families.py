"""The cases that are made of a workload."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from bnsuite.cases.case import Case, Step
from bnsuite.cases.checks.case import BehaviourCase, CheckCase, CheckNotApplicableError, NumericsCase
from bnsuite.cases.train.case import TrainingCase
from bnsuite.cases.train.epochs import Epochs
from bnsuite.cases.workload import checks
from bnsuite.cases.workload.declared import Kind, Workload
from bnsuite.cases.workload.state import WorkloadError

#: Seconds after which a check of a workload, whose steps may be long, counts as hanging.
LIMIT_S, LEAKS_LIMIT_S = 300.0, 1200.0
#: Epochs of a training that are timed in one launch of a run.
TIMED_EPOCHS = 5


@dataclass(frozen=True, kw_only=True)
class WorkloadCase(Case):
    """A timed step of a workload: "forward" in evaluation mode, or "step", forward and backward in training mode."""

    workload: Workload
    part: str

    family: ClassVar[str] = "workload"

    @property
    def gates(self) -> tuple[str, ...]:
        return ("timing", "memory", "kernels")

    @property
    def id(self) -> str:
        return f"workload/{self.workload.id}/{self.part}"

    @property
    def labels(self) -> dict[str, str]:
        return {"workload": self.workload.id, "part": self.part}

    @property
    def nbytes(self) -> None:
        return None

    def build(self, device: str, seed: int = 0) -> Step:
        from bnsuite.cases.workload.steps import FactoryStep, ModuleStep

        if self.workload.broken is not None:
            raise WorkloadError(self.workload.broken)
        if self.workload.kind is Kind.STEP:
            return FactoryStep(self.workload, device, seed=seed)
        return ModuleStep(self.workload, device, training=self.part == "step", seed=seed)

    def renew(self, step: Any, block: int) -> None:
        step.renew(block)

    def verify(self, step: Any) -> None:
        step.verify()


@dataclass(frozen=True, kw_only=True)
class WorkloadTrainingCase(TrainingCase):
    """A training of a user's own; how many epochs it has is known once its file was imported."""

    workload: Workload

    family: ClassVar[str] = "workload"

    @property
    def gates(self) -> tuple[str, ...]:
        return ("timing", "memory", "kernels", "convergence")

    @property
    def id(self) -> str:
        return f"workload/{self.workload.id}/training"

    @property
    def labels(self) -> dict[str, str]:
        return {"workload": self.workload.id, "part": "training"}

    @property
    def nbytes(self) -> None:
        return None

    @property
    def rounds(self) -> int:
        return TIMED_EPOCHS

    def start(self, device: str, seed: int = 0) -> Epochs:
        from bnsuite.cases.workload.training import WorkloadTraining

        return WorkloadTraining(self.workload, device, seed)

    def build(self, device: str, seed: int = 0) -> Epochs:
        from bnsuite.cases.workload.training import WorkloadTraining

        training = WorkloadTraining(self.workload, device, seed)
        if device == "cpu" and (workers := training.loading_processes):
            text = f"its DataLoader has {workers} processes, which take time from the cores that are timed"
            raise CheckNotApplicableError(f"workload {self.workload}: {text}; use num_workers=0")
        return training

    def verify(self, step: Any) -> None:
        step.verify()


def cases_of(workload: Workload) -> Iterator[Case]:
    """Yields the cases of a workload: what is timed, then its checks."""
    if workload.kind is Kind.TRAINING:
        yield WorkloadTrainingCase(workload=workload)
    else:
        if workload.kind is Kind.MODULE:
            yield WorkloadCase(workload=workload, part="forward")
        yield WorkloadCase(workload=workload, part="step")
    if workload.broken is None:
        yield from _checks(workload)


def _checks(workload: Workload) -> Iterator[CheckCase]:
    def make(kind: type[CheckCase], name: str, observe: Any, rule: str, limit_s: float = LIMIT_S) -> CheckCase:
        return kind(
            group="workload",
            name=f"{workload.id}/{name}",
            observe=partial(observe, workload=workload),
            rule=rule,
            torch_only=True,
            quick=True,
            limit_s=limit_s,
        )

    if workload.kind is Kind.MODULE:
        yield make(NumericsCase, "float64", checks.float64, checks.FLOAT64)
        yield make(NumericsCase, "outputs", checks.outputs, checks.OUTPUTS)
    yield make(BehaviourCase, "side-effects", checks.side_effects, checks.SIDE_EFFECTS)
    yield make(BehaviourCase, "determinism", checks.determinism, checks.DETERMINISM)
    yield make(BehaviourCase, "memory-leaks", checks.memory_leaks, checks.MEMORY_LEAKS, LEAKS_LIMIT_S)
