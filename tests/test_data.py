"""Data sets: made once, handed over as files, the same bytes either way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bnsuite.cases import data


def test_synthetic_is_the_articles() -> None:
    """1,000 samples of 20 features, split 80/20, standardised on the training part, two classes."""
    split = data.load("synthetic", "cpu")
    assert split.x_train.shape == (800, 20)
    assert split.x_val.shape == (200, 20)
    assert split.x_train.mean(0).abs().max() < 1e-6
    assert split.x_train.std(0, correction=0) == pytest.approx(torch.ones(20), abs=1e-5)
    assert set(split.y_train.tolist()) == {0.0, 1.0}
    assert split.y_train.dtype == torch.float32


def test_digits_are_real_and_whole() -> None:
    """1,797 images of 8x8 in [0, 1], every class in both parts."""
    split = data.load("digits", "cpu")
    assert len(split.x_train) + len(split.x_val) == 1797
    assert split.x_train.shape[1:] == (1, 8, 8)
    assert (split.x_train.min(), split.x_train.max()) == (0, 1)
    assert set(split.y_val.tolist()) == set(range(10))
    assert split.y_train.dtype == torch.int64


@pytest.mark.parametrize("name", list(data.SETS))
def test_a_staged_set_is_the_same_to_the_last_bit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A measured process reads what was made elsewhere, and gets what it would have made."""
    made = data.load(name, "cpu")
    data.stage([name], tmp_path)
    monkeypatch.setenv(data.STAGE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(data, "make", lambda _: pytest.fail("made, not read"))
    read = data.load(name, "cpu")
    for field in ("x_train", "y_train", "x_val", "y_val"):
        assert torch.equal(getattr(made, field), getattr(read, field))
        assert getattr(made, field).dtype == getattr(read, field).dtype


def test_staging_leaves_nothing_half_made(tmp_path: Path) -> None:
    data.stage(["synthetic"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["synthetic.safetensors"]
