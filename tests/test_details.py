"""Details of trainings on disk: what is written is read, what is broken is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnsuite.record import details
from bnsuite.record.errors import InputError
from bnsuite.record.schema import PlannedCase
from conftest import detail, result

CASE = "train/cnn/bn/data=digits"
FILE = Path("trainings") / "cnn__bn__data=digits.jsonl"


def planned(name: str) -> PlannedCase:
    """A training of this id."""
    case = result("train/x/y").case
    return case.model_copy(update={"id": name})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """A file a training, a line a seed, in the order of the seeds."""
    details.save(planned(CASE), [detail(1), detail(0)], tmp_path)
    assert len((tmp_path / FILE).read_text().splitlines()) == 2
    assert details.load(tmp_path) == {CASE: (detail(0), detail(1))}


def test_a_run_without_details_has_none(tmp_path: Path) -> None:
    """As runs of 0.1.0 have not."""
    assert details.load(tmp_path) == {}


@pytest.mark.parametrize("text", ["", "{", '{"schema": 9}', '{"schema": 1, "id": "x"}'])
def test_what_is_broken_is_named(tmp_path: Path, text: str) -> None:
    """The file and the line."""
    details.save(planned(CASE), [detail(0)], tmp_path)
    with (tmp_path / FILE).open("a") as file:
        file.write(text + "\n")
    with pytest.raises(InputError, match=r"cnn__bn__data=digits\.jsonl, line 2: "):
        details.load(tmp_path)


@pytest.mark.parametrize("case", ["train/../../etc/passwd", "train/a b", "train/.hidden"])
def test_no_id_leads_out_of_the_folder(tmp_path: Path, case: str) -> None:
    """Ids come from a measured process, which is never trusted."""
    with pytest.raises(InputError, match="is not the id of a training"):
        details.save(planned(case), [detail(0)], tmp_path)
