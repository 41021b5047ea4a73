"""Family ``train``: whole trainings, timed by the epoch and followed by their losses."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from bnsuite.cases.case import Case

if TYPE_CHECKING:
    import torch

#: The step whose batch loss is kept as the early loss: late enough to have learnt, early enough to tell.
EARLY_STEP = 100


@dataclass(frozen=True, kw_only=True)
class TrainCase(Case):
    """One workload in one variant: network, data and hyperparameters."""

    workload: str
    norm: str
    data: str
    optimizer: str
    lr: float
    momentum: float = 0.0
    batch: int
    epochs: int
    #: The validation loss that counts as learnt; every healthy seed meets it.
    target: float
    #: What tells this case from the others of its workload, such as ``lr=0.01``.
    setting: str

    family: ClassVar[str] = "train"
    gates: ClassVar[tuple[str, ...]] = ("timing", "convergence")

    @property
    def id(self) -> str:
        return f"train/{self.workload}/{self.norm}/{self.setting}"

    @property
    def nbytes(self) -> None:
        return None

    @property
    def dataset(self) -> str:
        return self.data

    @property
    def rounds(self) -> int:
        return self.epochs

    def build(self, device: str, seed: int = 0) -> Training:
        return Training(self, device, seed)


class Training:
    """A training in progress; a call is one epoch, and nothing but the epoch.

    Initialisation and the order of the data come from the CPU generator whatever the device, so that the same
    seed starts the same training everywhere and two environments can be compared seed by seed.
    """

    def __init__(self, case: TrainCase, device: str, seed: int) -> None:
        import torch
        from torch.nn import functional

        from bnsuite.cases import data, models

        self._batch = case.batch
        self._data = data.load(case.data, device)
        self._order = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            build = {"synthetic-mlp": models.mlp, "cnn": models.cnn}[case.workload]
            self.model = build(case.norm).to(device)
        self._optimizer: torch.optim.Optimizer
        if case.optimizer == "adam":
            self._optimizer = torch.optim.Adam(self.model.parameters(), lr=case.lr, fused=True)
        else:
            self._optimizer = torch.optim.SGD(self.model.parameters(), lr=case.lr, momentum=case.momentum, fused=True)
        two_classes = self._data.y_train.is_floating_point()
        self._loss: Any = functional.binary_cross_entropy_with_logits if two_classes else functional.cross_entropy
        #: The batch losses of the last epoch, on the device.
        self.losses: list[torch.Tensor] = []

    def __call__(self) -> None:
        """Train one epoch."""
        import torch

        data, model, optimizer, loss_of = self._data, self.model, self._optimizer, self._loss
        model.train()
        losses = []
        order = torch.randperm(len(data.x_train), generator=self._order).to(data.x_train.device)
        for chosen in order.split(self._batch):
            optimizer.zero_grad()
            loss = loss_of(model(data.x_train[chosen]), data.y_train[chosen])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        self.losses = losses

    def evaluate(self) -> tuple[float, float]:
        """Loss and accuracy on the validation set, in evaluation mode."""
        import torch

        data = self._data
        self.model.eval()
        with torch.no_grad():
            logits = self.model(data.x_val)
            guess = logits > 0 if logits.dim() == 1 else logits.argmax(1)
            accuracy = (guess == data.y_val).float().mean()
            return float(self._loss(logits, data.y_val)), float(accuracy)


@dataclass
class Curve:
    """How one seed learnt; None where a loss was not finite."""

    #: The mean batch loss of each epoch.
    train_loss: list[float | None] = field(default_factory=list)
    #: Validation loss and accuracy before the first epoch and after each.
    val_loss: list[float | None] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    #: The loss of batch number EARLY_STEP.
    early_loss: float | None = None


def follow(case: TrainCase, device: str, seed: int) -> Curve:
    """Train `case` to its end and return its curve; divergence is recorded, never raised."""
    training = case.build(device, seed)
    curve = Curve()
    steps = 0

    def note_validation() -> None:
        loss, accuracy = training.evaluate()
        curve.val_loss.append(_finite(loss))
        curve.val_accuracy.append(accuracy)

    note_validation()
    for _ in range(case.epochs):
        training()
        losses = [float(loss) for loss in training.losses]
        if steps < EARLY_STEP <= steps + len(losses):
            curve.early_loss = _finite(losses[EARLY_STEP - steps - 1])
        steps += len(losses)
        curve.train_loss.append(_finite(math.fsum(losses) / len(losses)))
        note_validation()
    return curve


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _synthetic(norm: str, lr: float, target: float) -> TrainCase:
    return TrainCase(
        workload="synthetic-mlp",
        norm=norm,
        data="synthetic",
        optimizer="adam",
        lr=lr,
        batch=64,
        epochs=25,
        target=target,
        setting=f"lr={lr:g}",
    )


def _cnn(norm: str, data: str) -> TrainCase:
    return TrainCase(
        workload="cnn",
        norm=norm,
        data=data,
        optimizer="sgd",
        lr=0.05,
        momentum=0.9,
        batch=64,
        epochs=10,
        target=0.3,
        setting=f"data={data}",
    )


CASES: tuple[TrainCase, ...] = (
    *(_synthetic(norm, lr, target) for lr, target in ((0.01, 0.2), (0.1, 0.25)) for norm in ("none", "bn")),
    *(_cnn(norm, "digits") for norm in ("none", "bn")),
)
