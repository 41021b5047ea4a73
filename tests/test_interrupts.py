"""What ends a command before its time: signals that come while a process or a folder is being made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bnsuite.launch.process import interrupts
from bnsuite.launch.process.child import Child
from bnsuite.launch.process.scratch import scratch_folder


@pytest.fixture(autouse=True)
def in_order() -> Iterator[None]:
    """They raise, as in a command that ignores none; pytest has its own handlers back afterwards."""
    before = {one: signal.signal(one, signal.SIG_DFL) for one in interrupts.SIGNALS}
    interrupts.raise_interrupt()
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.mark.parametrize("ending", interrupts.SIGNALS)
def test_each_of_them_raises_and_the_next_one_is_ignored(ending: signal.Signals) -> None:
    """The exception is a KeyboardInterrupt, for whoever cleans up after those."""
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(ending)
    assert interrupts.received()
    for one in interrupts.SIGNALS:
        signal.raise_signal(one)


def test_what_is_ignored_stays_so() -> None:
    """As under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupts.raise_interrupt()
    signal.raise_signal(signal.SIGHUP)
    assert not interrupts.received()


def test_what_is_held_is_done_whole() -> None:
    """The interrupt waits for the end of the outermost, and comes even where that fails."""
    done = []

    @interrupts.deferred()
    def both() -> None:
        with interrupts.deferred():
            signal.raise_signal(signal.SIGTERM)
            done.append("inner")
        done.append("outer")
        raise OSError

    with pytest.raises(interrupts.InterruptedRunError):
        both()
    assert done == ["inner", "outer"]
    with interrupts.deferred():  # it is told once
        pass


def test_another_thread_is_not_interrupted() -> None:
    """An interrupt that comes while a thread holds is the main thread's, at once."""
    holds, go_on = threading.Event(), threading.Event()
    ended: list[str] = []

    def hold() -> None:
        with interrupts.deferred():
            holds.set()
            go_on.wait(10)
        ended.append("as usual")

    thread = threading.Thread(target=hold)
    thread.start()
    assert holds.wait(10)
    with pytest.raises(interrupts.InterruptedRunError):
        signal.raise_signal(signal.SIGINT)
    go_on.set()
    thread.join()
    assert ended == ["as usual"]


def test_a_process_that_is_being_started_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Between its start and the note of it, too; none of the pipes to it stays open."""
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(*arguments: Any, **more: Any) -> subprocess.Popen[bytes]:
        started.append(real(*arguments, **more))
        signal.raise_signal(signal.SIGINT)
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", popen)
    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(interrupts.InterruptedRunError):
        Child(
            [sys.executable, "-c", "import time; time.sleep(600)"],
            environment={},
            folder=tmp_path,
            log=tmp_path / "log.txt",
            own_pipe=False,
        )
    assert started[0].returncode == -signal.SIGKILL
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_a_scratch_folder_that_nobody_has_yet_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It goes with the exception."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    real = os.mkdir

    def mkdir(*arguments: Any) -> None:
        real(*arguments)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(interrupts.InterruptedRunError):
        scratch_folder()
    assert list(tmp_path.iterdir()) == []
