"""The training: network, data and hyperparameters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from bnsuite.cases.case import Case, Step
from bnsuite.cases.networks import Network
from bnsuite.cases.train.autocast import AutocastTraining
from bnsuite.cases.train.epochs import Epochs
from bnsuite.cases.train.loader import LoaderTraining
from bnsuite.cases.train.optimizers import Optimizer
from bnsuite.cases.train.training import Training

#: Epochs timed in a launch where an epoch is long.
LONG_EPOCHS = 3


@dataclass(frozen=True, kw_only=True)
class TrainingCase(Case):
    """A training, of this package or of a user's file: timed by the epoch, and recorded from its first to its last."""

    kind: ClassVar[str] = "training"

    @abstractmethod
    def build(self, device: str, seed: int = 0) -> Epochs:
        """Returns the training from this seed, before its first epoch, to be timed."""

    def start(self, device: str, seed: int = 0) -> Epochs:
        """Returns the same, to be recorded."""
        return self.build(device, seed)

    def timed_unit(self, step: Step) -> Step:
        assert isinstance(step, Epochs)
        return step.next_batch

    def smoke_step(self, step: Step) -> Step:
        assert isinstance(step, Epochs)
        return step.few_batches


@dataclass(frozen=True, kw_only=True)
class TrainCase(TrainingCase):
    """One workload with one normalization: network, data and hyperparameters."""

    workload: str
    #: The normalization, such as ``bn`` or ``none``; or the other choice in which two trainings differ.
    norm: str
    #: The settings that distinguish the case within its workload, such as ``{"lr": "0.01"}``; the end of the id.
    settings: Mapping[str, str] = field(hash=False)
    network: Network
    data: str
    #: "bce" (of logits, two classes), "cross-entropy" or "mse".
    loss: str
    optimizer: Optimizer
    batch: int
    epochs: int
    #: The validation loss that counts as learnt; every healthy seed of the workload with batch norm reaches it.
    target: float | None
    shuffle: bool = True
    #: Its epochs are timed. Those of a training that computes what another one does, on other numbers, are not.
    timed: bool = True
    #: Histograms of the inputs of each layer are recorded.
    probed: bool = False
    #: It is trained by Keras's own model, loss and optimizer.
    keras: bool = False
    #: The model runs under autocast in "bf16", or in "fp16" with a scaled loss.
    autocast: str | None = None
    #: Packages it needs beyond those of its network: a twin has no purpose without the other.
    requires: tuple[str, ...] = ()

    family: ClassVar[str] = "train"

    @property
    def gates(self) -> tuple[str, ...]:
        if not self.timed:
            return ("convergence",)
        # Batches of worker processes wait in this one's memory, as many as happen to be ready.
        return ("timing", *(() if self.workers else ("memory",)), "kernels", "convergence")

    @property
    def id(self) -> str:
        settings = (f"{name}={value}" for name, value in self.settings.items())
        return "/".join(["train", self.workload, self.norm, *settings])

    @property
    def labels(self) -> dict[str, str]:
        return {"workload": self.workload, "norm": self.norm, "data": self.data, **self.settings}

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

    @property
    def steps(self) -> dict[str, int]:
        from bnsuite.cases.data import TRAINED_ON

        if self.data not in TRAINED_ON:
            return {}
        epoch = -(-TRAINED_ON[self.data] // self.batch)
        # A launch warms up a short training for three epochs at least.
        timed = {"timing": epoch * (self.rounds + (0 if self.long else 3))} if self.timed else {}
        return {"epoch": epoch, "convergence": epoch * self.epochs, **timed}

    def examples(self, step: Step) -> int:
        assert isinstance(step, Training)
        return len(step.data.x_train)

    def timed_unit(self, step: Step) -> Step:
        return step if self.workers else super().timed_unit(step)  # the start of workers is not part of every batch

    def describe(self, images: Path | None = None) -> dict[str, Any]:
        return {**super().describe(images), "target": self.target}

    def build(self, device: str, seed: int = 0) -> Training:
        if self.keras:
            from bnsuite.cases.train.twin import KerasTraining

            return KerasTraining(self, device, seed)
        if self.workers:
            return LoaderTraining(self, device, seed)
        if self.autocast:
            return AutocastTraining(self, device, seed)
        return Training(self, device, seed)
