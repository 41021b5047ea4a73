"""A measured process: started in a group of its own, read line by line, ended with all it started."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
import subprocess
import weakref
from pathlib import Path
from time import monotonic
from typing import IO

from bnsuite.launch.process import interrupts, isolation
from bnsuite.launch.process.scratch import HINT, MIN_ROOM_BYTES, room_bytes
from bnsuite.launch.process.stream import ChildError, Lines, Listener, SilentError

__all__ = ["Child", "ChildError", "LogFile", "SilentError", "exit_reason"]

#: The most that is kept of output that is no message: a process that prints without end must not fill the disk.
MAX_NOISE_BYTES = 1 << 20
#: A longer log is emptied when the next process starts, and while one is waited for.
MAX_LOG_BYTES = 16 << 20
#: The interval between two looks at the size of the log.
POLL_S = 1.0
#: Marks all that a process starts, for those that leave its group; its value differs from process to process.
FAMILY_VARIABLE = "BNSUITE_FAMILY"


def exit_reason(status: int, last_line: str = "") -> str:
    """Returns an exit status in words: the signal that ended the process if it is negative, else its last line."""
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:  # a real-time signal
            name = f"signal {-status}"
        hint = "; the kernel ends processes so when memory runs out" if name == "SIGKILL" else ""
        return f"the process was ended by {name}{hint}"
    return f"the process ended with status {status}" + (f": {last_line[:200]}" if last_line else "")


def last_line(text: bytes) -> str:
    """Returns the last line of `text` that is not blank."""
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""


def _anchored(environment: dict[str, str]) -> dict[str, str]:
    """Returns `environment` with absolute folders in its PYTHONPATH; an empty name means the current folder."""
    path = environment.get("PYTHONPATH")
    if not path:
        return environment
    parts = path.split(os.pathsep)
    if any(not Path(part).is_absolute() for part in parts):
        here = isolation.current_folder()
        parts = [str(here / part) for part in parts]
    return {**environment, "PYTHONPATH": os.pathsep.join(parts)}


def _pipe() -> tuple[int, int]:
    """Returns a pipe whose ends are no standard streams, not even of a command that was started without them."""
    ends = os.pipe()
    if min(ends) > 2:
        return ends
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3) for end in ends]
    for end in ends:
        os.close(end)
    return moved[0], moved[1]


class LogFile:
    """Output of a process: its first bytes in a file, which is made when there are any, and its end in memory."""

    def __init__(self, file: Path, room: int = MAX_NOISE_BYTES) -> None:
        self._file, self._room = file, room
        self._end = b""

    def __call__(self, some: bytes) -> None:
        self._end = (self._end + some)[-4096:]
        fitting = some[: self._room]
        self._room -= len(fitting)
        if fitting:
            with contextlib.suppress(OSError), self._file.open("ab") as file:
                file.write(fitting)

    @property
    def last_line(self) -> str:
        """The last line that is not blank."""
        return last_line(self._end)


class Child:
    """A process whose messages come as lines on a pipe.

    The messages come by a pipe of their own, whose number replaces ``{fd}`` in the command, or by its stdout.
    All its other output goes to `log`; with a `token`, lines of the pipe without it go to a file beside `log`. The
    process works in `folder`: relative folders of PYTHONPATH are made absolute.
    """

    def __init__(
        self,
        command: list[str],
        *,
        environment: dict[str, str],
        folder: Path,
        log: Path,
        own_pipe: bool,
        token: str | None = None,
    ) -> None:
        self.log = log
        self._noise = LogFile(log.with_name(f"{log.stem}-noise.txt"))
        self._read_end, write_end = _pipe()
        #: Closed by `end` or, if an interrupt comes first, with this object.
        self._owned = contextlib.ExitStack()
        self._owned.callback(os.close, self._read_end)
        weakref.finalize(self, self._owned.close)
        family = secrets.token_hex(8)
        try:
            with log.open("ab") as output, interrupts.deferred():
                if output.tell() > MAX_LOG_BYTES:
                    output.truncate(0)
                self._log_began = output.tell()
                self._process = subprocess.Popen(
                    [part.replace("{fd}", str(write_end)) for part in command],
                    stdin=subprocess.PIPE,
                    stdout=output if own_pipe else write_end,
                    stderr=output,
                    pass_fds=(write_end,) if own_pipe else (),
                    cwd=folder,
                    env={**_anchored(environment), FAMILY_VARIABLE: family},
                    start_new_session=True,
                )
                self._owned.callback(_end, self._process, family)
        except BaseException:
            self._owned.close()
            raise
        finally:
            os.close(write_end)
        self._listener = Listener(self._read_end, self._read, Lines(token, self._noise))

    def send(self, line: str) -> None:
        """Writes one line to the child's stdin."""
        stdin: IO[bytes] | None = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(line.encode() + b"\n")
            stdin.flush()
        except OSError:
            raise ChildError(self.exit_reason()) from None

    def receive(self, timeout_s: float) -> str | None:
        """Returns the next line, or None when the child has closed its end; SilentError if none comes in time."""
        deadline = monotonic() + timeout_s
        while (left := deadline - monotonic()) > POLL_S:
            with contextlib.suppress(SilentError):
                return self._listener.receive(POLL_S)
            self._shorten_log()
        try:
            return self._listener.receive(max(0.0, left))
        except SilentError:
            raise SilentError(f"said nothing for {timeout_s:g} s") from None

    def _shorten_log(self) -> None:
        """Empties a log that is too long; the child writes at the end of its log, wherever that is."""
        with contextlib.suppress(OSError):
            if self.log.stat().st_size > MAX_LOG_BYTES:
                os.truncate(self.log, 0)
                self._log_began = 0

    def _read(self) -> bytes | None:
        return os.read(self._read_end, 1 << 16) or None

    def exit_reason(self) -> str:
        """Returns how the child ended, once its pipe is closed: the signal or the exit status, and its last line.

        A full disk is named: the child may have ended for want of room, and could not even log that.
        """
        status = self.wait(10)
        if status is None:
            return "closed its messages but goes on running"
        self._listener.drain(0.0)  # a message that could not be sent leaves the child's last words unread
        with self.log.open("rb") as log:
            log.seek(max(self._log_began, log.seek(0, os.SEEK_END) - 4096))
            text = last_line(log.read())
        reason = exit_reason(status, text or self._noise.last_line)
        room = room_bytes(self.log.parent)
        return reason if room >= MIN_ROOM_BYTES else f"{reason}; {self.log.parent} has {room >> 10} KiB left: {HINT}"

    def wait(self, timeout_s: float) -> int | None:
        """Returns the exit status, or None if the child still runs after `timeout_s`."""
        try:
            return self._process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """Kills the child and its group, at once; a receive under way returns None."""
        _kill(self._process)

    def end(self) -> None:
        """Kills the child with all it started, and closes what belongs to it."""
        if self._read_end < 0:
            return
        self._owned.close()
        self._listener.close()
        self._read_end = -1


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes], family: str) -> None:
    """Kills `process` and all it started, and reaps it."""
    _kill(process)
    with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in the driver can't be waited for
        process.wait(timeout=10)
    _kill_family(f"{FAMILY_VARIABLE}={family}".encode())
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # what it still held back can't be delivered any more
        process.stdin.close()


def _kill_family(mark: bytes) -> None:
    """Kills the processes that began with `mark` in their environment: daemons that left the group of their parent."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended, or is another user's
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)
