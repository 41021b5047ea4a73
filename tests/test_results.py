"""Folders of results: what an earlier command left goes, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnsuite.cli.results import claimed, forget_old, require_sides
from bnsuite.record.errors import InputError


def put(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


def left(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_comparison_goes_with_its_sides(tmp_path: Path) -> None:
    """What the user put beside them stays."""
    put(*(tmp_path / name for name in ("lockstep.json", "a/run.json", "b/run.json", "b/trainings/x.jsonl", "notes.md")))
    require_sides(tmp_path)
    forget_old(tmp_path)
    assert left(tmp_path) == {"notes.md"}


def test_runs_are_no_sides_for_their_names(tmp_path: Path) -> None:
    """Two runs that were named a and b outlive a run in their parent; a comparison there is refused."""
    runs = {"a/run.json", "b/run.json"}
    put(tmp_path / "run.json", *(tmp_path / name for name in runs))
    forget_old(tmp_path)
    assert left(tmp_path) == runs
    with pytest.raises(InputError, match="/a: holds a run that is no part of a comparison; choose another folder"):
        require_sides(tmp_path)


def test_a_folder_is_one_commands_at_a_time(tmp_path: Path) -> None:
    """A second one is told so before it removes anything; afterwards the folder is free, and gone if it is empty."""
    put(tmp_path / "run" / "run.json")
    said = "/run: another command is writing there; name another folder"
    with claimed(tmp_path / "run"), pytest.raises(InputError, match=said), claimed(tmp_path / "run"):
        pytest.fail("two commands in one folder")
    with claimed(tmp_path / "run") as folder:
        assert left(folder) == {"run.json"}
    with pytest.raises(InputError, match="refused"), claimed(tmp_path / "new"):
        raise InputError("refused")
    assert not (tmp_path / "new").exists()
