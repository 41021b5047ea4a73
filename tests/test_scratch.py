"""Scratch folders: those of killed coordinators are removed, and a lack of room is named with its fix."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bnsuite.launch.process import owner, scratch
from bnsuite.launch.process.scratch import ScratchError, scratch_folder


@pytest.fixture(autouse=True)
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TMPDIR of its own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def ended() -> int:
    """Returns the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_dead_coordinators_of_this_host_are_swept(parent: Path) -> None:
    """A folder goes if its process is dead; those of the living, of other hosts and of other programs stay."""
    ours = f"bnsuite-{owner.host_digest()}-"
    dead = parent / f"{ours}{ended()}-1-abc"
    kept = [f"{ours}{owner.this_process()}-abc", f"bnsuite-{'0' * 12}-{ended()}-1-abc", "bnsuite-abcdefgh", f"{ours}x"]
    for path in (dead, *(parent / name for name in kept)):
        (path / "inside").mkdir(parents=True)
    with scratch_folder() as made:
        assert {path.name for path in parent.iterdir()} == {*kept, Path(made).name}


def test_a_coordinator_that_was_killed_is_swept_by_the_next(parent: Path) -> None:
    """SIGKILL leaves the folder, and the next command removes it."""
    code = "import os\nfrom bnsuite.launch.process.scratch import scratch_folder\n"
    code += "folder = scratch_folder()\nos.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(parent)}, check=False)
    assert len(list(parent.iterdir())) == 1
    scratch_folder().cleanup()
    assert list(parent.iterdir()) == []


def test_a_process_that_cannot_be_seen_counts_as_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a process that has ended, or another one of its id, is dead."""
    gone = ended()
    assert not owner.is_dead(owner.this_process())
    assert owner.is_dead(f"{os.getpid()}-1")
    assert owner.is_dead(f"{gone}-1")
    assert not owner.is_dead("nobody")
    monkeypatch.setattr(owner, "_started", lambda _: None)  # as where /proc is mounted with hidepid
    assert not owner.is_dead(f"{os.getpid()}-1")
    assert owner.is_dead(f"{gone}-1")


def test_a_folder_without_room_is_named_with_the_fix(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any process is started in it."""
    monkeypatch.setattr(scratch, "room_bytes", lambda _: 64 << 10)
    with pytest.raises(ScratchError) as caught:
        scratch_folder()
    assert str(caught.value) == (
        f"{parent}: has only 64 KiB left for measured processes; free some space, or set TMPDIR to another folder"
    )


def test_a_folder_that_is_gone_is_named_with_the_fix(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a TMPDIR was removed after the command began."""
    monkeypatch.setattr("tempfile.tempdir", str(parent / "nowhere"))
    with pytest.raises(
        ScratchError, match=r"nowhere: cannot be written to: No such file or directory; free some space"
    ):
        scratch_folder()
