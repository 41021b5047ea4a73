"""The recorder of a training: its curve, and the details beside it."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch

from bnsuite.cases import TrainCase, catalogue
from bnsuite.cases.train import Sgd, Training
from bnsuite.measure import devices
from bnsuite.measure.layer_statistics import BINS
from bnsuite.measure.training_recorder import EARLY_STEP, record
from bnsuite.record.details import Detail
from bnsuite.record.schema import Curve

CPU = devices.get("cpu")


def case(name: str) -> TrainCase:
    found = catalogue.case(name)
    assert isinstance(found, TrainCase)
    return found


BN = case("train/synthetic-mlp/bn/lr=0.01")
CNN = case("train/cnn/bn/data=digits")


def test_a_curve_has_a_value_an_epoch_and_one_before() -> None:
    """Validation before the first epoch and after each; the early loss is that of batch 100."""
    curve, detail = record(BN, CPU, 0)
    assert (len(curve.train_loss), len(curve.val_loss), len(curve.val_accuracy)) == (25, 26, 26)
    assert curve.val_loss[0] == pytest.approx(0.69, abs=0.15)
    training = Training(BN, "cpu", 0)
    losses: list[float] = []
    while len(losses) < EARLY_STEP:
        training()
        losses += [float(loss) for loss in training.losses]
    assert curve.early_loss == losses[EARLY_STEP - 1]
    assert (detail.steps_per_epoch, len(detail.epoch_s)) == (13, 25)


@pytest.mark.parametrize("name", ["train/cnn/bn/data=digits", "train/bad-init-regression/none/act=relu"])
def test_the_outer_half_accepts_every_field(name: str) -> None:
    """Over JSON, by its strict types."""
    import json

    curve, detail = record(replace(case(name), epochs=2), CPU, 0)
    Curve.model_validate_json(json.dumps(asdict(curve)))
    Detail.model_validate_json(json.dumps(asdict(detail)))


def test_accuracy_in_both_modes_and_class_by_class() -> None:
    """The overall accuracy is the classes' mean, weighted by how many samples they have."""
    curve, detail = record(replace(CNN, epochs=1), CPU, 0)
    assert detail.eval_mode is not None
    assert detail.train_mode is not None
    assert detail.eval_mode.overall == curve.val_accuracy[-1]
    counts = torch.bincount(Training(CNN, "cpu", 0).data.y_val).tolist()
    weighted = sum(n * share for n, share in zip(counts, detail.eval_mode.per_class, strict=True)) / sum(counts)
    assert weighted == pytest.approx(detail.eval_mode.overall)
    assert detail.train_mode.overall != detail.eval_mode.overall


def test_gradient_norms_are_those_of_the_last_batch() -> None:
    """A number a layer and epoch: the L2 norm over the layer's weights and biases."""
    _, detail = record(replace(BN, epochs=1), CPU, 0)
    training = Training(BN, "cpu", 0)
    training()
    for name, parameters in training.layers():
        expected = torch.cat([one.grad.flatten() for one in parameters if one.grad is not None]).norm()
        assert detail.gradient_norms[name] == [pytest.approx(float(expected), rel=1e-5)]
    assert list(detail.gradient_norms) == [
        *("0-Linear", "1-BatchNorm1d", "3-Linear", "4-BatchNorm1d", "6-Linear"),
    ]


def test_divergence_is_recorded_and_never_raised() -> None:
    """A learning rate of a million gives a loss that is not finite: None, the epoch, and no exception."""
    wild = replace(case("train/cnn/none/data=digits"), optimizer=Sgd(1e6), epochs=2)
    curve, detail = record(wild, CPU, 0)
    assert curve.train_loss[-1] is None
    assert detail.diverged_epoch == 1
    assert None in next(iter(detail.gradient_norms.values()))
    assert all(len(one.counts) == 3 for one in detail.histograms)


@pytest.mark.slow
def test_it_learns_and_batch_norm_helps() -> None:
    """The articles' finding, at three seeds: at ten times the learning rate the pair with BN ends lower."""
    with_bn = [record(case("train/synthetic-mlp/bn/lr=0.1"), CPU, seed)[0].val_loss[-1] for seed in range(3)]
    without = [record(case("train/synthetic-mlp/none/lr=0.1"), CPU, seed)[0].val_loss[-1] for seed in range(3)]
    assert sum(loss or 9 for loss in with_bn) < sum(loss or 9 for loss in without)
    assert record(CNN, CPU, 0)[0].val_accuracy[-1] > 0.95


def test_histograms_count_every_value_of_every_layer() -> None:
    """Inputs and pre-activations of eight hidden layers and the head; what is out of range is in the outer bins."""
    regression = case("train/bad-init-regression/bn/act=tanh")
    _, detail = record(replace(regression, epochs=1), CPU, 0)
    assert [one.layer for one in detail.histograms if one.what == "pre-activation"] == [str(n) for n in range(9)]
    assert [one.layer for one in detail.histograms if one.what == "input"] == [str(n) for n in range(9)]
    inputs = detail.histograms[0]
    assert [sum(counts) for counts in inputs.counts] == [200, 200]
    assert inputs.counts[0][-1] > 200 / 17 * 3  # untrained, batch norm lets x through: it goes to 10, the bins to 6
    assert inputs.counts[1][-1] == 0  # trained, it gives unit variance
    assert [len(one.counts[0]) for one in detail.histograms] == [BINS] * 18


def test_recording_statistics_changes_nothing() -> None:
    """A training has the same curve with them and without."""
    assert record(replace(CNN, epochs=2), CPU, 0)[0] == record(replace(CNN, epochs=2, probed=False), CPU, 0)[0]


def test_a_regression_has_no_accuracy_but_a_fit() -> None:
    """The test points in order, and what the network says of them."""
    curve, detail = record(replace(case("train/bad-init-regression/bn/act=relu"), epochs=1), CPU, 0)
    assert curve.val_accuracy == []
    assert (detail.eval_mode, detail.train_mode) == (None, None)
    assert detail.fitted is not None
    assert (detail.fitted.x[0], detail.fitted.x[-1]) == (-7, 10)
    mean = sum((y - (p or 0)) ** 2 for y, p in zip(detail.fitted.y, detail.fitted.prediction, strict=True)) / 200
    assert mean == pytest.approx(curve.val_loss[-1], rel=1e-5)
