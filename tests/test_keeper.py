"""What a worker in a container needs and no engine: its stream decoded, its keeper, and the engine's errors told."""

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
    for error in (DockerException(said), APIError("500 Server Error", explanation=said)):
        assert explained(error).startswith(means)
        assert "\n" not in explained(error)


def test_an_engine_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(InputError, match=r"^docker:x: no Docker engine answers; start it "):
        parse("docker:x").prepare()


START = {"do": "start"}


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts what a container starts; importing torch, which START does, runs `torch`."""
    kept = []

    def start(torch: str, **more: str) -> subprocess.Popen[str]:
        (tmp_path / "torch.py").write_text(torch)
        kept.append(
            subprocess.Popen(
                [sys.executable, "-m", "bnsuite.measure.keeper"],
                env={**os.environ, "PYTHONPATH": str(tmp_path), "BNSUITE_CORES": "", **more},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        kept[-1].stdin.write(json.dumps(START) + "\n")
        kept[-1].stdin.flush()
        return kept[-1]

    yield start
    for process in kept:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            stream.close()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGSEGV, 139), (signal.SIGKILL, 137)])
def test_a_keeper_ends_as_its_worker_does(keeper: Any, number: int, status: int) -> None:
    """By a signal, which the first process of a container can't die of itself."""
    assert keeper(f"import os; os.kill(os.getpid(), {number})").wait(20) == status


def test_a_keeper_ends_with_the_worker_when_nobody_listens(keeper: Any, tmp_path: Path) -> None:
    """Even one that hangs, and does not read on."""
    one = keeper("import os, time; open(__file__ + '.pid', 'w').write(str(os.getpid())); time.sleep(600)")
    pid = tmp_path / "torch.py.pid"
    while not (pid.exists() and pid.read_text()):
        time.sleep(0.05)
    one.stdin.close()
    assert one.wait(20) == 128 + signal.SIGHUP
    assert gone(int(pid.read_text()))


@pytest.mark.parametrize(("oldest", "taken"), [((2, 1), "new"), ((99, 0), "old")])
def test_a_keeper_sets_what_its_libc_takes(keeper: Any, oldest: tuple[int, int], taken: str) -> None:
    """The newest of the settings that are not too new; an old glibc ignores a threshold that is too large."""
    heaps = json.dumps([(oldest, {"MALLOC_TOP_PAD_": "1", "HEAP": "new"}), ((0, 0), {"HEAP": "old"})])
    one = keeper("import os; raise RuntimeError(os.environ['HEAP'])", BNSUITE_HEAPS=heaps)
    assert json.loads(one.stdout.readline()) == {"failed": f"RuntimeError: {taken}"}
