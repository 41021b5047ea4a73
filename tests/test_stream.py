"""Messages that carry a token, found in whatever else a process writes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bnsuite.launch.process.child import Child, ChildError, SilentError


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], Child]]:
    """Starts a child whose messages carry the token "secret"."""
    children: list[Child] = []

    def start(code: str) -> Child:
        child = Child(
            [sys.executable, "-c", f"import os, sys, time\nmark = b'\\x1esecret'\n{code}"],
            environment=dict(os.environ),
            folder=tmp_path,
            log=tmp_path / "log.txt",
            own_pipe=False,
            token="secret",  # noqa: S106  # none
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.end()


def test_messages_are_found_in_noise(make: Callable[[str], Child], tmp_path: Path) -> None:
    """Cut anywhere, between lines and on one, with the token cut in two."""
    child = make(
        "for part in (b'a', b'b' + mark[:4], mark[4:] + b'one\\nnoise\\n' + mark, b'two\\n', b'secret three\\nlast'):\n"
        "    os.write(1, part); time.sleep(.05)"
    )
    assert [child.receive(10) for _ in range(3)] == ["one", "two", None]
    assert (tmp_path / "log-noise.txt").read_text() == "ab\nnoise\nsecret three\nlast"


def test_noise_without_end_has_a_limit(
    make: Callable[[str], Child], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In time, in memory and on disk."""
    monkeypatch.setattr("bnsuite.launch.process.stream.GRACE_S", 0.0)
    child = make("while True: os.write(1, b'x' * 65536)")
    began = time.monotonic()
    with pytest.raises(SilentError):
        child.receive(1.0)
    assert time.monotonic() - began < 60
    assert (tmp_path / "log-noise.txt").stat().st_size == 1 << 20


def test_a_long_message_is_read_whole(make: Callable[[str], Child]) -> None:
    child = make("os.write(2, b'')\nsys.stdout.buffer.write(b'n\\n' + mark + b'x' * 3_000_000 + b'\\n')")
    assert child.receive(20) == "x" * 3_000_000


def test_last_words_are_those_of_this_process(make: Callable[[str], Child]) -> None:
    """Not what an earlier one left in the same log."""
    assert make("sys.exit('it went wrong')").receive(10) is None
    second = make("sys.exit(4)")
    assert second.receive(10) is None
    assert second.exit_reason() == "the process ended with status 4"


def test_a_process_that_ended_before_it_was_asked_says_why(make: Callable[[str], Child]) -> None:
    """Its last words are in the pipe, read by nobody yet, when the message to it can't be sent."""
    child = make("print('module not loaded'); sys.exit(3)")
    assert child.wait(30) == 3
    with pytest.raises(ChildError, match="status 3: module not loaded"):
        child.send("hello")
