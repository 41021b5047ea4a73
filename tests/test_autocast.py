"""Trainings in mixed precision: what computes in which type, and a scaled loss that trains as an unscaled one."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import Tensor, nn

from bnsuite.cases import TrainCase, catalogue
from bnsuite.cases.train import CASES
from bnsuite.cases.train.autocast import DTYPES


def case(dtype: str) -> TrainCase:
    found = catalogue.case(f"train/autocast/bn/net=cnn3d/data=volumes/dtype={dtype}")
    assert isinstance(found, TrainCase)
    return found


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_are_short_and_everything_else_is_not(dtype: str) -> None:
    """Batch norm gets halves from the convolution; parameters, statistics, gradients and losses are float32."""
    training = case(dtype).build("cpu", 0)
    given: list[torch.dtype] = []
    norms = [layer for layer in training.model.modules() if isinstance(layer, nn.BatchNorm3d)]
    for layer in norms:
        layer.register_forward_pre_hook(lambda _, args: given.append(args[0].dtype))
    training.few_batches()
    outputs = training.predict()
    in_train_mode = training.predict_in_train_mode()
    assert set(given) == {getattr(torch, DTYPES[dtype])}
    tensors: list[Tensor | None] = [*training.model.parameters(), *(one.running_var for one in norms)]
    tensors += [one.grad for one in training.model.parameters()]
    assert {None if one is None else one.dtype for one in [*tensors, outputs, in_train_mode]} == {torch.float32}


@pytest.mark.parametrize("dtype", DTYPES)
def test_it_learns_what_float32_learns(dtype: str) -> None:
    """The losses of four batches and the gradients of the last are those of float32, to the rounding of halves."""
    training, plain = case(dtype).build("cpu", 0), replace(case(dtype), autocast=None).build("cpu", 0)
    batches = list(islice(plain._batches(), 4))
    losses, expected = (torch.stack([one.step(x, y) for x, y in batches]) for one in (training, plain))
    assert losses.dtype is torch.float32
    torch.testing.assert_close(losses, expected, rtol=0.01, atol=0)
    assert not torch.equal(losses, expected)
    for short, full in zip(training.model.parameters(), plain.model.parameters(), strict=True):
        assert short.grad is not None
        assert full.grad is not None
        assert float(short.grad.norm()) == pytest.approx(float(full.grad.norm()), rel=0.2)


def test_float16_needs_a_gpu_and_bfloat16_does_not() -> None:
    """Both train the network of volumes with batch norm; without it bfloat16 alone does."""
    found = {(one.autocast, one.norm, one.gpu_only) for one in CASES if one.autocast}
    assert found == {("bf16", "bn", False), ("bf16", "none", False), ("fp16", "bn", True)}
