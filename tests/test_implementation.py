"""The layer that is judged: torch's own, or what a user names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bnsuite.cases import implementation

MINE = """
from torch import nn

class Mine(nn.BatchNorm2d):
    pass

broken = 3
"""


def test_without_one_it_is_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the rank that was asked for, with the arguments that were given."""
    monkeypatch.delenv(implementation.VARIABLE, raising=False)
    layers = [implementation.batch_norm(rank, 3, eps=0.1) for rank in (1, 2, 3)]
    assert [type(layer) for layer in layers] == [torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d]
    assert {layer.eps for layer in layers} == {0.1}


def test_a_file_is_loaded_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its layers are of one class every time, so that they can be copied and pickled."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.setenv(implementation.VARIABLE, f"{tmp_path}/mine.py:Mine")
    one, other = (implementation.batch_norm(rank, 3) for rank in (1, 2))
    assert type(one) is type(other)
    assert type(one).__name__ == "Mine"
    assert type(implementation.torchs_own(2, 3)) is torch.nn.BatchNorm2d


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module:f", "no_such_module can't be imported: ModuleNotFoundError"),
        ("{folder}/mine.py:broken", "mine.py has no callable 'broken'"),
        ("{folder}/none.py:f", "none.py can't be imported: FileNotFoundError"),
        ("{folder}/raises.py:f", "raises.py can't be imported: ZeroDivisionError"),
        ("{folder}/talks.py:f", "talks.py can't be imported: ValueError: much"),
    ],
)
def test_what_cannot_be_had_is_told(tmp_path: Path, name: str, said: str) -> None:
    """In one line, with the cause."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "raises.py").write_text("1 / 0")
    (tmp_path / "talks.py").write_text("raise ValueError('much\\nto say')")
    with pytest.raises(implementation.ImplementationError) as caught:
        implementation.load(name.format(folder=tmp_path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
