"""Trainings: the same seed is the same training, an epoch is an epoch, divergence is a result."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from bnsuite.cases import TrainCase, by_id
from bnsuite.cases.train import EARLY_STEP, Training, follow


def case(name: str) -> TrainCase:
    found = by_id[name]
    assert isinstance(found, TrainCase)
    return found


BN = case("train/synthetic-mlp/bn/lr=0.01")
NONE = case("train/synthetic-mlp/none/lr=0.01")
CNN = case("train/cnn/bn/data=digits")


def test_the_networks_are_the_articles() -> None:
    """Batch norm between linear and ReLU, hidden 128 and 64; convolutions have a bias only where no norm follows."""
    kinds = [type(layer) for layer in Training(BN, "cpu", 0).model]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear, nn.Flatten]
    kinds = [type(layer) for layer in Training(NONE, "cpu", 0).model]
    assert kinds == [nn.Linear, nn.ReLU] * 2 + [nn.Linear, nn.Flatten]
    widths = [layer.out_features for layer in Training(BN, "cpu", 0).model if isinstance(layer, nn.Linear)]
    assert widths == [128, 64, 1]
    for name, biased in (("train/cnn/bn/data=digits", False), ("train/cnn/none/data=digits", True)):
        layers = list(Training(case(name), "cpu", 0).model)
        assert [layer.bias is not None for layer in layers if isinstance(layer, nn.Conv2d)] == [biased] * 3


@pytest.mark.parametrize("one", [BN, CNN], ids=lambda one: one.id)
def test_a_seed_is_a_training(one: TrainCase) -> None:
    """The same seed gives the same curve to the last bit, whatever torch's generator did before; another differs."""
    short = replace(one, epochs=3)
    first = follow(short, "cpu", 0)
    torch.rand(100)
    assert follow(short, "cpu", 0) == first
    assert follow(short, "cpu", 1) != first


def test_building_a_training_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    Training(BN, "cpu", 7)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_epoch_sees_every_sample_once_and_does_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """13 batches of 64 and the rest, in training mode; evaluation is not inside the timed part."""
    training = Training(BN, "cpu", 0)
    seen: list[tuple[int, bool]] = []
    training.model.register_forward_hook(lambda module, args, _: seen.append((len(args[0]), module.training)))
    training()
    assert seen == [(64, True)] * 12 + [(32, True)]
    assert len(training.losses) == 13


def test_evaluation_changes_nothing() -> None:
    """Running statistics and parameters are the same before and after, and the next epoch trains again."""
    training = Training(BN, "cpu", 0)
    training()
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    training.evaluate()
    assert all(torch.equal(before[name], value) for name, value in training.model.state_dict().items())
    training()
    assert training.model.training


def test_a_curve_has_a_value_an_epoch_and_one_before() -> None:
    """Validation before the first epoch and after each; the early loss is that of batch 100."""
    curve = follow(BN, "cpu", 0)
    assert (len(curve.train_loss), len(curve.val_loss), len(curve.val_accuracy)) == (25, 26, 26)
    assert curve.val_loss[0] == pytest.approx(0.69, abs=0.15)
    assert curve.early_loss is not None
    training = Training(BN, "cpu", 0)
    losses: list[float] = []
    while len(losses) < EARLY_STEP:
        training()
        losses += [float(loss) for loss in training.losses]
    assert curve.early_loss == losses[EARLY_STEP - 1]


def test_it_learns_and_batch_norm_helps() -> None:
    """The article's finding, at three seeds: at ten times the learning rate the pair with BN ends lower."""
    with_bn = [follow(case("train/synthetic-mlp/bn/lr=0.1"), "cpu", seed).val_loss[-1] for seed in range(3)]
    without = [follow(case("train/synthetic-mlp/none/lr=0.1"), "cpu", seed).val_loss[-1] for seed in range(3)]
    assert sum(loss or 9 for loss in with_bn) < sum(loss or 9 for loss in without)
    assert follow(CNN, "cpu", 0).val_accuracy[-1] > 0.95


def test_divergence_is_recorded_and_never_raised() -> None:
    """A learning rate of a million gives a loss that is not finite: None in the curve, and no exception."""
    curve = follow(replace(case("train/cnn/none/data=digits"), lr=1e6, epochs=2), "cpu", 0)
    assert curve.train_loss[-1] is None
