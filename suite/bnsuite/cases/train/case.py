"""The value every training is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from bnsuite.cases.case import Case, Step
from bnsuite.cases.networks import Network
from bnsuite.cases.train.optimizers import Optimizer
from bnsuite.cases.train.training import Training

#: Of long epochs so many are timed in a launch.
LONG_EPOCHS = 3


@dataclass(frozen=True, kw_only=True)
class TrainCase(Case):
    """One workload in one variant: network, data and hyperparameters."""

    workload: str
    #: The normalization, or whatever else a pair of trainings differs in.
    variant: str
    #: What tells this case from the others of its workload, such as ``lr=0.01``.
    setting: str
    network: Network
    data: str
    #: "bce" (of logits, two classes), "cross-entropy" or "mse".
    loss: str
    optimizer: Optimizer
    batch: int
    epochs: int
    #: Every healthy seed of the workload with batch norm meets it.
    target: float | None = field()
    shuffle: bool = True
    #: Whether its epochs are timed; a training that computes what another one does, on other numbers, is not.
    timed: bool = True
    #: Whether histograms of what each layer sees are kept.
    probed: bool = False
    #: Whether it is trained by Keras's own model, loss and optimizer.
    keras: bool = False
    #: Packages without which it has no purpose, as a twin has none without the other.
    requires: tuple[str, ...] = ()

    family: ClassVar[str] = "train"

    @property
    def gates(self) -> tuple[str, ...]:
        return ("timing", "memory", "convergence") if self.timed else ("convergence",)

    @property
    def id(self) -> str:
        return f"train/{self.workload}/{self.variant}/{self.setting}"

    @property
    def nbytes(self) -> None:
        return None

    @property
    def pluggable(self) -> bool:
        return self.network.pluggable and not self.keras

    @property
    def dataset(self) -> str:
        return self.data

    @property
    def packages(self) -> tuple[str, ...]:
        return self.requires or self.network.packages

    @property
    def rounds(self) -> int:
        return min(LONG_EPOCHS, self.epochs) if self.long else self.epochs

    def examples(self, step: Step) -> int:
        assert isinstance(step, Training)
        return len(step.data.x_train)

    def piece(self, step: Step) -> Step:
        assert isinstance(step, Training)
        return step.next_batch

    def brief(self, step: Step) -> Step:
        assert isinstance(step, Training)
        return step.few_batches

    def build(self, device: str, seed: int = 0) -> Training:
        if self.keras:
            from bnsuite.cases.train.twin import KerasTraining

            return KerasTraining(self, device, seed)
        return Training(self, device, seed)
