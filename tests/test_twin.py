"""Keras and torch side by side: with everything translated they are one training, with anything missed they are not."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import nn

from bnsuite.cases import TrainCase, catalogue
from bnsuite.cases.networks import Mlp, Norm
from bnsuite.cases.train import Adam, Training

pytestmark = pytest.mark.skipif(find_spec("keras") is None, reason="the twin needs bnsuite[keras]")

KERAS = catalogue.case("train/mnist-mlp-keras/bn/data=digits-held-out")
TORCH = catalogue.case("train/mnist-mlp-keras/bn-torch/data=digits-held-out")
STEPS = 100


def batches(training: Training) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    chosen: list[torch.Tensor] = []
    while len(chosen) < STEPS:
        chosen += torch.randperm(len(training.data.x_train), generator=generator).split(32)[:-1]  # whole batches
    return chosen[:STEPS]


def run(case: object, **norm: float) -> tuple[Training, list[float]]:
    """A training and its first losses; `norm` changes what batch norm is given."""
    assert isinstance(case, TrainCase)
    assert isinstance(case.network, Mlp)
    network = replace(case.network, norm=replace(case.network.norm, **norm)) if norm else case.network
    training = replace(case, network=network).build("cpu", 0)
    training.model.train()
    data = training.data
    return training, [float(training.step(data.x_train[chosen], data.y_train[chosen])) for chosen in batches(training)]


def statistics(training: Training) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Running mean and variance of each batch norm, of either library."""
    norms = [layer for layer in training.model.modules() if isinstance(layer, nn.BatchNorm1d)]
    if norms:
        pairs = [(layer.running_mean, layer.running_var) for layer in norms]
        return [(mean, var) for mean, var in pairs if mean is not None and var is not None]
    model: Any = training.model
    return [
        (layer.moving_mean.value, layer.moving_variance.value)
        for layer in model.layers
        if type(layer).__name__ == "BatchNormalization"
    ]


def furthest(one: list[float], other: list[float]) -> float:
    """The largest relative difference between two lists of losses."""
    return max(abs(a - b) / b for a, b in zip(one, other, strict=True))


def furthest_mean(one: Training, other: Training) -> float:
    """The largest difference between running means, relative to the layer's largest."""
    pairs = zip(statistics(one), statistics(other), strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for (a, _), (b, _) in pairs)


@pytest.fixture(scope="module")
def keras_run() -> tuple[Training, list[float]]:
    return run(KERAS)


def test_translated_they_are_one_training(keras_run: tuple[Training, list[float]]) -> None:
    """The first 100 losses agree within 1e-4, and so do the running means: Keras's 0.99 is torch's 0.01."""
    keras, losses = keras_run
    torch_twin, expected = run(TORCH)
    assert furthest(losses, expected) < 1e-4
    assert furthest_mean(keras, torch_twin) < 1e-3


def test_keras_keeps_the_biased_variance(keras_run: tuple[Training, list[float]]) -> None:
    """torch's running variance has the n / (n - 1) of batches of 32 more, above what is left of the initial 1."""
    torch_twin, _ = run(TORCH)
    left = 0.99**STEPS
    for (_, keras_var), (_, torch_var) in zip(statistics(keras_run[0]), statistics(torch_twin), strict=True):
        corrected = (torch_var - left) * 31 / 32 + left
        torch.testing.assert_close(keras_var, corrected, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(keras_var, torch_var, rtol=1e-3, atol=1e-4)


def test_the_momentum_as_keras_writes_it_is_found(keras_run: tuple[Training, list[float]]) -> None:
    """0.99 given to torch leaves the losses alone, since training uses the batches' statistics; the means tell."""
    torch_twin, expected = run(TORCH, momentum=0.99)
    assert furthest(keras_run[1], expected) < 1e-4
    assert furthest_mean(keras_run[0], torch_twin) > 0.1


def test_torchs_own_epsilon_is_found(keras_run: tuple[Training, list[float]]) -> None:
    """1e-5 instead of Keras's 1e-3 moves the losses beyond what rounding does."""
    assert furthest(keras_run[1], run(TORCH, eps=1e-5)[1]) > 1e-4


def test_torchs_own_adam_is_found(keras_run: tuple[Training, list[float]]) -> None:
    """Its epsilon stands elsewhere: no rounding, but thirty times the difference that the translation leaves."""
    assert isinstance(TORCH, TrainCase)
    assert furthest(keras_run[1], run(replace(TORCH, optimizer=Adam()))[1]) > 1e-4


def test_the_case_is_the_articles() -> None:
    """784-128-64-10 on MNIST, a fifth held out, Keras's own eps and momentum."""
    case = catalogue.case("train/mnist-mlp-keras/bn/data=mnist-held-out")
    assert isinstance(case, TrainCase)
    assert isinstance(case.network, Mlp)
    assert case.network.widths == (784, 128, 64, 10)
    assert case.network.norm == Norm(kind="bn", eps=1e-3, momentum=0.01)
    assert (case.batch, case.epochs, case.keras, case.packages) == (32, 10, True, ("keras",))


def test_evaluation_changes_nothing(keras_run: tuple[Training, list[float]]) -> None:
    """Neither mode touches the moving statistics."""
    training = keras_run[0]
    before = [(mean.clone(), var.clone()) for mean, var in statistics(training)]
    training.evaluate()
    training.predict_in_train_mode()
    for (mean, var), (mean_after, var_after) in zip(before, statistics(training), strict=True):
        assert torch.equal(mean, mean_after)
        assert torch.equal(var, var_after)
