"""Known deviations: which they are, and that the file of them is sound."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from bnsuite.cases import all_cases
from bnsuite.record import pins
from bnsuite.record.errors import InputError
from conftest import ROOT


def test_every_pin_of_ours_has_a_case_and_a_reason() -> None:
    """A pattern that no case matches covers nothing any more and is to be removed."""
    for pin in pins.read(ROOT / "baselines"):
        assert any(fnmatchcase(case.id, pin.case) for case in all_cases()), pin.case
        assert len(pin.reason.split()) > 4


def test_without_a_file_ours_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch does wrong is known wherever bnsuite is started; a file of one's own replaces it."""
    assert pins.read(tmp_path) == pins.read(ROOT / "baselines") != ()
    (tmp_path / "pins.json").write_text('{"schema": 1, "pins": []}')
    assert pins.read(tmp_path) == ()
    monkeypatch.delenv("BNSUITE_BASELINES", raising=False)
    monkeypatch.setattr(pins, "OURS", tmp_path / "none.json")  # as where it is installed without its checkout
    assert pins.read(tmp_path / "elsewhere") == ()


def test_an_images_own_pins_hold_for_other_baselines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that a container's user mounts has none: stock torch is no regression there."""
    (tmp_path / "image").mkdir()
    ours = ROOT / "baselines" / "pins.json"
    (tmp_path / "image" / "pins.json").write_bytes(ours.read_bytes())
    monkeypatch.setattr(pins, "OURS", tmp_path / "no checkout")
    monkeypatch.setenv("BNSUITE_BASELINES", str(tmp_path / "image"))
    assert pins.read(tmp_path / "mounted") == pins.read(ROOT / "baselines")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"schema": 2}', "wrong field pins"),
        ('{"schema": 9, "pins": []}', "has schema 9, this bnsuite reads up to 2"),
        ('{"schema": 1, "pins": [{"case": "a", "what": "b"}]}', "wrong field pins.0.device"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    """One line with the file and what is wrong; a pin without a reason is none."""
    (tmp_path / "pins.json").write_text(text)
    with pytest.raises(InputError) as caught:
        pins.read(tmp_path)
    assert said in str(caught.value)
