"""The checks of memory, disk and data sets."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from bnsuite.cases.data import images
from bnsuite.doctor import data, disk, memory
from bnsuite.doctor.host import DoctorRequest, Room, room
from fake_host import MANY, fake_host, look, put, shown

GIB_KB = 1 << 20


def meminfo(available: int, swap: int = 0, swap_free: int = 0) -> str:
    return (
        f"MemTotal: {8 * GIB_KB} kB\nMemAvailable: {available} kB\nSwapTotal: {swap} kB\nSwapFree: {swap_free} kB\n"
        "HugePages_Total:       0\n"
    )


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("memory", meminfo(4 * GIB_KB), "ok: 4.00 GiB of 8.00 GiB of memory available"),
        ("memory", meminfo(GIB_KB), "disturbs: 1.00 GiB of 8.00 GiB of memory available"),
        ("memory", "MemTotal: 1 kB\n", "unknown: could not look: /proc/meminfo has no line MemAvailable"),
        ("swap", meminfo(1), "not-applicable: no swap space"),
        ("swap", meminfo(1, 100, 90), "ok: 10.0 KiB of 100 KiB of swap in use, 0 pages moved just now"),
        ("swap", meminfo(1, 100, 50), "disturbs: 50.0 KiB of 100 KiB of swap in use, 0 pages moved just now"),
    ],
)
def test_memory_is_judged(tmp_path: Path, name: str, text: str, said: str) -> None:
    """Memory that is short disturbs, and so does much of it swapped out."""
    assert shown(look(memory.SUBJECT, fake_host(tmp_path, {"proc/meminfo": text}))[name]) == said


def test_a_host_that_swaps_just_now_disturbs(tmp_path: Path) -> None:
    """However little of the swap space is in use."""
    files = {"proc/meminfo": meminfo(1, 100, 90), "proc/vmstat": "pswpin 5\npswpout 5\n"}
    found = look(memory.SUBJECT, fake_host(tmp_path, files, {"proc/vmstat": "pswpin 5\npswpout 9\n"}))
    assert shown(found["swap"]) == "disturbs: 10.0 KiB of 100 KiB of swap in use, 4 pages moved just now"


def test_without_proc_nothing_of_memory_is_known(tmp_path: Path) -> None:
    """A probe that fails leaves each of its checks unknown, with the cause."""
    found = look(memory.SUBJECT, fake_host(tmp_path))
    assert {shown(one) for one in found.values()} == {"unknown: could not look: there is no /proc/meminfo"}


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (MANY, "ok: r has 1024 GiB free, 1,073,741,824 inodes"),
        (Room(1 << 20, None, writable=True), "disturbs: r has 1.00 MiB free"),
        (Room(1 << 40, 5, writable=True), "disturbs: r has 1024 GiB free, 5 inodes"),
        (Room(1 << 40, None, writable=False), "disturbs: r has 1024 GiB free, not writable"),
    ],
)
def test_a_disk_needs_room(tmp_path: Path, there: Room, said: str) -> None:
    """Bytes, inodes, and the right to write."""
    request = DoctorRequest(results=Path("r"), scratch=Path("r"))
    found = look(disk.SUBJECT, fake_host(tmp_path), request, room=lambda _: there)
    assert {shown(found[name]) for name in ("disk-results", "disk-scratch")} == {said}


def test_compiled_code_must_be_loadable(tmp_path: Path) -> None:
    """Docker mounts a --tmpfs with noexec unless it is told otherwise."""
    host, request = fake_host(tmp_path), DoctorRequest(scratch=Path("/tmp"))  # noqa: S108  # a container's
    found = look(disk.SUBJECT, host, request, room=lambda _: replace(MANY, executable=False))["disk-exec"]
    assert (found.fix, shown(found)) == ("exec-scratch", "disturbs: compiled code cannot be loaded from /tmp")
    assert shown(look(disk.SUBJECT, host, request)["disk-exec"]) == "ok: compiled code can be loaded from /tmp"


def test_a_disk_that_can_not_be_asked_is_unknown(tmp_path: Path) -> None:
    """Such as a network's that is gone."""

    def stale(folder: Path) -> Room:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(folder))

    found = look(disk.SUBJECT, fake_host(tmp_path), DoctorRequest(results=Path("/mnt/x")), room=stale)
    assert shown(found["disk-results"]) == "unknown: could not look: /mnt/x: Stale file handle"


def test_the_room_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    """It will be made on the disk of the nearest one that is."""
    assert room(tmp_path / "a" / "b").writable
    assert room(tmp_path / "a" / "b").free_bytes > 0


def test_data_sets_are_looked_for_where_measured_processes_look(tmp_path: Path) -> None:
    """All four archives must be there; the names agree with those of the inner half."""
    assert data.ARCHIVES == images.ARCHIVES
    assert set(data.FOLDERS.values()) == set(images.CLASSES.values())
    request = DoctorRequest(data=tmp_path / "d")
    put(tmp_path / "d/MNIST/raw", dict.fromkeys(images.ARCHIVES, ""))
    put(tmp_path / "d/FashionMNIST/raw", dict.fromkeys(images.ARCHIVES[1:], ""))
    found = look(data.SUBJECT, fake_host(tmp_path), request)
    assert shown(found["data-mnist"]) == f"ok: {tmp_path}/d has the archives"
    assert shown(found["data-fashion-mnist"]) == f"disturbs: {tmp_path}/d lacks 1 of the 4 archives"
