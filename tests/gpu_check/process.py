"""A step's process: its output is written as it comes, and at its limit it is ended with all that it started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

#: Seconds that a process has, once it is told to end, to write what it has.
GRACE_S = 10.0
#: The same where the check itself was told to end: `docker stop` and Slurm soon kill what does not.
STOP_S = 4.0
#: The request to Linux that a process be told when its parent has died.
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status (negative: a signal), its last line, and whether it was cut off."""

    status: int
    last_line: str
    cut_off: bool


def run(
    command: list[str],
    log: Path,
    limit_s: float,
    *,
    folder: Path,
    show: Callable[[str], None],
    stopped: Callable[[], bool] = lambda: False,
    grace_s: float = GRACE_S,
) -> Ended:
    """Runs a command to its end, or to `limit_s`, or until `stopped`; OSError if it can't be started.

    Every line goes to `log` and to `show` as it comes. The command is told by SIGTERM, and killed `grace_s` later.
    """
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
        preexec_fn=_end_with_parent,  # no other thread runs here
    )
    assert process.stdout is not None
    deadline = monotonic() + limit_s
    kill_at: float | None = None
    lines = _Lines(log, show)
    with process.stdout, selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)
        while True:
            now = monotonic()
            if kill_at is None and (now >= deadline or stopped()):
                kill_at = now + (grace_s if now >= deadline else min(grace_s, STOP_S))
                _signal(process.pid, signal.SIGTERM, group=False)
            if kill_at is not None and now >= kill_at:
                _signal(process.pid, signal.SIGKILL, group=True)
                kill_at = now + grace_s
            if ready.select(min(0.2, max(0.0, (kill_at or deadline) - now))):
                some = os.read(process.stdout.fileno(), 1 << 16)
                if not some:
                    break
                lines.add(some)
            elif process.poll() is not None:  # a process that it left behind may hold the pipe open
                break
    lines.end()
    status = _wait(process, grace_s)
    _signal(process.pid, signal.SIGKILL, group=True)  # whatever it left behind
    return Ended(status, lines.last, kill_at is not None)


def _wait(process: subprocess.Popen[bytes], grace_s: float) -> int:
    """Returns the exit status of a process that has closed its output."""
    try:
        return process.wait(grace_s)
    except subprocess.TimeoutExpired:
        _signal(process.pid, signal.SIGKILL, group=True)
        return process.wait()


def _signal(pid: int, number: signal.Signals, *, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        (os.killpg if group else os.kill)(pid, number)


def _end_with_parent() -> None:
    """Has the process told to end when the check is killed outright; it then writes what it has."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class _Lines:
    """Writes output to a file as it comes, and shows whole lines."""

    def __init__(self, log: Path, show: Callable[[str], None]) -> None:
        self._file, self._show, self._rest = log.open("ab", buffering=0), show, b""
        self.last = ""

    def add(self, some: bytes) -> None:
        """Takes some output."""
        self._file.write(some)
        *whole, self._rest = (self._rest + some).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            self._line(line)

    def end(self) -> None:
        """Takes the last line, and closes the file."""
        self._line(self._rest)
        self._file.close()

    def _line(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if text:
            self.last = text
            self._show(text)
