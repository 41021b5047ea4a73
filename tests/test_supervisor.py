"""A worker in a container, without an engine: its stream, its supervisor, and the messages for the engine's errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError, DockerException

from bnsuite.launch.environments import parse
from bnsuite.launch.environments.container import Frames
from bnsuite.launch.environments.engine import explained
from bnsuite.record.errors import InputError
from test_child import gone


def test_frames_are_decoded_wherever_they_are_cut() -> None:
    """A header in two parts, a frame in several, several at once, an empty one."""
    stream = b"\1\0\0\0\0\0\0\5hello\2\0\0\0\0\0\0\0\2\0\0\0\0\0\0\3err\1\0\0\0\0\0\1\0" + b"x" * 256
    for size in (1, 3, 7, 64, len(stream)):
        frames = Frames()
        seen = {1: b"", 2: b""}
        for start in range(0, len(stream), size):
            for number, piece in frames.decode(stream[start : start + size]):
                seen[number] += piece
        assert seen == {1: b"hello" + b"x" * 256, 2: b"err"}


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("('Connection aborted.', PermissionError(13, 'Permission denied'))", "this user may not speak to the Docker "),
        ("('Connection aborted.', FileNotFoundError(2, 'No such file'))", "no Docker engine answers; start it "),
        ("('Connection aborted.', RemoteDisconnected('Remote end closed'))", "no Docker engine answers; start it "),
        (
            "HTTPConnectionPool(host='localhost'): Read timed out. (read timeout=60)",
            "the Docker engine does not an",
        ),
        (
            'could not select device driver "" with capabilities: [[gpu]]',
            "the engine can't give it the GPUs (could not ",
        ),
        ('OCI runtime create failed: exec: "sh": executable file not found in $PATH: unknown', "has no sh, by which "),
        (
            "Requested CPUs are not available -\n requested 99",
            "the Docker engine says: Requested CPUs are not available - ",
        ),
    ],
)
def test_what_the_engine_says_is_told_in_one_line(said: str, means: str) -> None:
    """With the cause, and the remedy where there is one."""
    for error in (DockerException(said), APIError("500 Server Error", explanation=said)):
        assert explained(error).startswith(means)
        assert "\n" not in explained(error)


def test_an_engine_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line that names the environment."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(InputError, match=r"^docker:x: no Docker engine answers; start it "):
        parse("docker:x").prepare()


START = {"do": "start"}


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts what a container starts; importing torch, which START does, runs `torch`."""
    started = []

    def start(torch: str, **more: str) -> subprocess.Popen[str]:
        (tmp_path / "torch.py").write_text(torch)
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "bnsuite.measure.supervisor"],
                env={**os.environ, "PYTHONPATH": str(tmp_path), "BNSUITE_CORES": "", **more},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        started[-1].stdin.write(json.dumps(START) + "\n")
        started[-1].stdin.flush()
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            stream.close()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGSEGV, 139), (signal.SIGKILL, 137)])
def test_a_supervisor_ends_as_its_worker_does(supervisor: Any, number: int, status: int) -> None:
    """By a signal, which the first process of a container can't die of itself."""
    assert supervisor(f"import os; os.kill(os.getpid(), {number})").wait(20) == status


def test_a_supervisor_ends_with_the_worker_when_its_client_is_gone(supervisor: Any, tmp_path: Path) -> None:
    """Even one that hangs, and does not read on."""
    one = supervisor("import os, time; open(__file__ + '.pid', 'w').write(str(os.getpid())); time.sleep(600)")
    pid = tmp_path / "torch.py.pid"
    while not (pid.exists() and pid.read_text()):
        time.sleep(0.05)
    one.stdin.close()
    assert one.wait(20) == 128 + signal.SIGHUP
    assert gone(int(pid.read_text()))


@pytest.mark.parametrize(("oldest", "taken"), [((2, 1), "new"), ((99, 0), "old")])
def test_a_supervisor_sets_what_its_libc_takes(supervisor: Any, oldest: tuple[int, int], taken: str) -> None:
    """The newest settings that it accepts; an old glibc ignores a threshold that is too large."""
    heaps = json.dumps([(oldest, {"MALLOC_TOP_PAD_": "1", "HEAP": "new"}), ((0, 0), {"HEAP": "old"})])
    one = supervisor("import os; raise RuntimeError(os.environ['HEAP'])", BNSUITE_HEAPS=heaps)
    assert json.loads(one.stdout.readline()) == {"failed": f"RuntimeError: {taken}"}
