"""The catalogue and its builders."""

from __future__ import annotations

import re
from importlib.util import find_spec

import pytest
import torch

from bnsuite.cases import CATALOGUE, Case, by_id, profile
from bnsuite.cases.data import to_download
from bnsuite.cases.op import OpCase
from conftest import IMAGES


def test_ids_are_readable_and_unique() -> None:
    """An id is a path of plain words, and says everything that was fixed."""
    assert len(by_id) == len(CATALOGUE)
    assert all(re.fullmatch(r"(op|train)(/[a-z0-9+=.x_-]+){3,5}", name) for name in by_id), list(by_id)


def test_the_cases_of_the_first_release() -> None:
    """BatchNorm1d, BatchNorm2d in two shapes and two layouts, each in three phases; three pairs of trainings."""
    assert len([name for name in by_id if name.startswith("op/batch_norm1d/")]) == 3
    assert len([name for name in by_id if name.startswith("op/batch_norm2d/")]) == 12
    trainings = {
        *(f"train/synthetic-mlp/{norm}/lr={lr}" for norm in ("none", "bn") for lr in ("0.01", "0.1")),
        *(f"train/cnn/{norm}/data=digits" for norm in ("none", "bn")),
    }
    assert {by_id[name].version for name in trainings} == {1}


def test_the_quick_profile_keeps_a_handful_of_trainings() -> None:
    """What takes no download and a second."""
    assert [case.id for case in profile("quick") if case.family == "train"] == [
        *(f"train/synthetic-mlp/{norm}/lr={lr}" for lr in ("0.01", "0.1") for norm in ("none", "bn")),
        *(f"train/bad-init-regression/{norm}/act=tanh" for norm in ("none", "bn")),
        *(f"train/cnn/{norm}/data=digits" for norm in ("none", "bn")),
    ]


def test_quick_is_a_part_of_full() -> None:
    assert set(profile("quick")) <= set(profile("full")) == set(CATALOGUE)


@pytest.mark.parametrize("case", CATALOGUE, ids=lambda case: case.id)
def test_every_case_builds_a_step_that_returns_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest-benchmark keeps what a step returns alive into the next round, so a step returns nothing."""
    if case.cuda_only and not torch.cuda.is_available():
        pytest.skip("too large for a CPU")
    for package in case.packages:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    if case.dataset and to_download(case.dataset, IMAGES):
        pytest.skip("MNIST and Fashion-MNIST are not in the folder that BNSUITE_DATA names")
    monkeypatch.setenv("BNSUITE_DATA", str(IMAGES))
    step = case.brief(case.build("cpu"))
    assert step() is None
    if not case.long:
        assert step() is None


@pytest.mark.parametrize("case", [case for case in CATALOGUE if isinstance(case, OpCase)], ids=lambda case: case.id)
def test_an_op_does_what_its_id_says(case: OpCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer sees the shape, the layout and the mode of the id, and gradients are made only in fwd+bwd."""
    seen = []
    original = torch.nn.functional.batch_norm

    def spy(x: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        training = kwargs.get("training", args[4] if len(args) > 4 else None)
        seen.append((tuple(x.shape), x.is_contiguous(), bool(training), x.requires_grad, torch.is_grad_enabled()))
        return original(x, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.nn.functional, "batch_norm", spy)
    case.build("cpu")()
    backward = case.phase == "fwd+bwd"
    assert seen == [(case.shape, case.layout != "nhwc", case.phase != "fwd-eval", backward, backward)]


def test_declared_bytes_are_those_of_the_passes() -> None:
    """Forward in evaluation reads and writes the activation once."""
    assert by_id["op/batch_norm2d/fwd-eval/f32/nchw/32x256x14x14"].nbytes == 2 * 32 * 256 * 14 * 14 * 4
