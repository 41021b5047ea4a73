"""The recorder of a training, from its first epoch to its last: its curve, and details that no gate decides on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

from bnsuite.cases import TrainCase, Training
from bnsuite.measure.layer_statistics import Histogram, LayerStatistics, Units

if TYPE_CHECKING:
    import torch

    from bnsuite.cases import TrainingCase
    from bnsuite.cases.train.epochs import Epochs
    from bnsuite.measure.devices import Device

#: The step whose batch loss is the early loss: late enough to have learnt, early enough to differ.
EARLY_STEP = 100


@dataclass
class Curve:
    """The learning curve of one seed; None where a loss was not finite."""

    seed: int
    #: The mean batch loss of each epoch.
    train_loss: list[float | None] = field(default_factory=list)
    #: Validation loss and accuracy before the first epoch and after each; a regression has no accuracy.
    val_loss: list[float | None] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    #: The loss of batch number EARLY_STEP, or None if the training has no such batch.
    early_loss: float | None = None


@dataclass
class Accuracy:
    """The share of right answers on the validation set, over all of it and class by class."""

    overall: float
    per_class: list[float]


@dataclass
class Fitted:
    """The predictions of a regression's network at the test points at the end."""

    x: list[float]
    y: list[float]
    prediction: list[float | None]


@dataclass
class Detail:
    """Further facts about one seed; none of them is compared with a baseline."""

    seed: int
    #: Steps of the first epoch.
    steps_per_epoch: int = 0
    #: The validation loss that counts as learnt, if there is one.
    target: float | None = None
    #: The first epoch, from 1, with a loss that was not finite.
    diverged_epoch: int | None = None
    #: Wall time of each epoch, beside other trainings on other cores: an indication, not a measurement.
    epoch_s: list[float] = field(default_factory=list)
    #: The process's peak while it trained, with what earlier trainings left (see ``Device.peak_bytes``).
    peak_memory_bytes: int | None = None
    #: The L2 norm of each layer's gradient at the last batch of each epoch; None where it was not finite.
    gradient_norms: dict[str, list[float | None]] = field(default_factory=dict)
    eval_mode: Accuracy | None = None
    train_mode: Accuracy | None = None
    histograms: list[Histogram] = field(default_factory=list)
    units: list[Units] = field(default_factory=list)
    fitted: Fitted | None = None


def record(case: TrainingCase, device: Device, seed: int) -> tuple[Curve, Detail]:
    """Trains `case` to its end; divergence is recorded, never raised."""
    device.reset_peak()
    training = case.start(device.name, seed)
    curve, detail = Curve(seed), Detail(seed, target=training.target)
    statistics = LayerStatistics(training.model) if isinstance(case, TrainCase) and case.probed else None
    steps = 0

    def validate() -> None:
        if statistics and isinstance(training, Training):
            statistics.record(training.data.x_val)
        loss, accuracy = training.evaluate()
        curve.val_loss.append(_finite(loss))
        if accuracy is not None:
            curve.val_accuracy.append(accuracy)

    validate()
    for epoch in range(1, training.epochs + 1):
        begin_s = perf_counter()
        training()
        losses = _floats(training.losses)
        detail.steps_per_epoch = detail.steps_per_epoch or len(losses)
        detail.epoch_s.append(perf_counter() - begin_s)
        if steps < EARLY_STEP <= steps + len(losses):
            curve.early_loss = _finite(losses[EARLY_STEP - steps - 1])
        steps += len(losses)
        curve.train_loss.append(_finite(math.fsum(losses) / len(losses)))
        _record_gradients(training, detail)
        validate()
        if detail.diverged_epoch is None and (curve.train_loss[-1] is None or curve.val_loss[-1] is None):
            detail.diverged_epoch = epoch
    if statistics:
        detail.histograms, detail.units = statistics.histograms, statistics.units
    if isinstance(case, TrainCase) and isinstance(training, Training):
        _finish(case, training, detail)
    detail.peak_memory_bytes = device.peak_bytes()
    case.verify(training)
    return curve, detail


def _finish(case: TrainCase, training: Training, detail: Detail) -> None:
    outputs = training.predict()
    if case.loss == "mse":
        x, y, prediction = (_floats([*one.flatten()]) for one in (training.data.x_val, training.data.y_val, outputs))
        detail.fitted = Fitted(x, y, [_finite(value) for value in prediction])
        return
    detail.eval_mode = _accuracy(training, outputs)
    detail.train_mode = _accuracy(training, training.predict_in_train_mode())


def _accuracy(training: Training, outputs: torch.Tensor) -> Accuracy:
    correct, y = training.correct(outputs), training.data.y_val
    classes = sorted(set(y.tolist()))
    return Accuracy(
        overall=float(correct.float().mean()), per_class=[float(correct[y == one].float().mean()) for one in classes]
    )


def _record_gradients(training: Epochs, detail: Detail) -> None:
    for name, parameters in training.layers():
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        squares = [(one.coalesce().values() if one.is_sparse else one).square().sum() for one in gradients]
        norm = math.sqrt(sum(_floats(squares))) if squares else 0.0
        detail.gradient_norms.setdefault(name, []).append(_finite(norm))


def _floats(values: list[torch.Tensor]) -> list[float]:
    """Scalars on a device as floats, in one transfer."""
    import torch

    floats: list[float] = torch.stack(values).tolist()
    return floats


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
