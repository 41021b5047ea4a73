"""A measured process: started in a group of its own, listened to line by line, ended with all it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import weakref
from pathlib import Path
from time import monotonic
from typing import IO

from bnsuite.launch.process import interrupts
from bnsuite.launch.process.stream import ChildError, Lines, Listener, SilentError

__all__ = ["Child", "ChildError", "LogFile", "SilentError", "exit_reason"]

#: What comes where only messages should is not kept beyond this: whoever prints without end must not fill the disk.
MAX_NOISE_BYTES = 1 << 20
#: What was printed is let go of beyond this: when the next process starts, and while one is waited for.
MAX_LOG_BYTES = 16 << 20
#: How often what a process prints is looked at while it is waited for.
LOOK_S = 1.0


def exit_reason(status: int, last_line: str = "") -> str:
    """An exit status in words: the signal that ended the process if it is negative, else `last_line` with it."""
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:  # a real-time signal
            name = f"signal {-status}"
        hint = "; the kernel ends processes so when memory runs out" if name == "SIGKILL" else ""
        return f"the process was ended by {name}{hint}"
    return f"the process ended with status {status}" + (f": {last_line[:200]}" if last_line else "")


def last_line(text: bytes) -> str:
    """The last line of `text` that says anything."""
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""


def _anchored(environment: dict[str, str]) -> dict[str, str]:
    """`environment` with the folders of its PYTHONPATH as they are seen from here; an empty one is this folder."""
    path = environment.get("PYTHONPATH")
    if not path:
        return environment
    here = Path.cwd()
    return {**environment, "PYTHONPATH": os.pathsep.join(str(here / part) for part in path.split(os.pathsep))}


class LogFile:
    """What was printed: its first bytes kept in a file, which is made when there are any, and the end of it here."""

    def __init__(self, file: Path, room: int = MAX_NOISE_BYTES) -> None:
        self._file, self._room = file, room
        self._end = b""

    def __call__(self, some: bytes) -> None:
        self._end = (self._end + some)[-4096:]
        kept = some[: self._room]
        self._room -= len(kept)
        if kept:
            with contextlib.suppress(OSError), self._file.open("ab") as file:
                file.write(kept)

    @property
    def last_line(self) -> str:
        """The last line that said anything."""
        return last_line(self._end)


class Child:
    """A process whose messages come as lines on a pipe.

    Messages come by a pipe of their own, whose number takes the place of ``{fd}`` in the command, or by its stdout.
    Everything else that it prints goes to `log`; with a `token`, what comes by the pipe without it goes to a file
    beside `log`. It works in `folder`: a PYTHONPATH that means folders of ours means them all the same.
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
        self._read_end, write_end = os.pipe()
        #: All that is let go of in the end, by whom this object belongs to or, if an interrupt comes first, with it.
        self._owned = contextlib.ExitStack()
        self._owned.callback(os.close, self._read_end)
        weakref.finalize(self, self._owned.close)
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
                    env=_anchored(environment),
                    start_new_session=True,
                )
                self._owned.callback(_end, self._process)
        except BaseException:
            self._owned.close()
            raise
        finally:
            os.close(write_end)
        self._listener = Listener(self._read_end, self._read, Lines(token, self._noise))

    def send(self, line: str) -> None:
        """Write one line to the child's stdin."""
        stdin: IO[bytes] | None = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(line.encode() + b"\n")
            stdin.flush()
        except OSError:
            raise ChildError(self.exit_reason()) from None

    def receive(self, timeout_s: float) -> str | None:
        """The next line, or None when the child has closed its end; SilentError if none comes in time."""
        deadline = monotonic() + timeout_s
        while (left := deadline - monotonic()) > LOOK_S:
            with contextlib.suppress(SilentError):
                return self._listener.receive(LOOK_S)
            self._shorten_log()
        try:
            return self._listener.receive(max(0.0, left))
        except SilentError:
            raise SilentError(f"said nothing for {timeout_s:g} s") from None

    def _shorten_log(self) -> None:
        """Let go of what was printed if it is too much; the child writes at the end of its log, wherever that is."""
        with contextlib.suppress(OSError):
            if self.log.stat().st_size > MAX_LOG_BYTES:
                os.truncate(self.log, 0)
                self._log_began = 0

    def _read(self) -> bytes | None:
        return os.read(self._read_end, 1 << 16) or None

    def exit_reason(self) -> str:
        """How the child ended, once its pipe is closed: the signal or the exit status, and its last line."""
        try:
            status = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "closed its messages but goes on running"
        with self.log.open("rb") as log:
            log.seek(max(self._log_began, log.seek(0, os.SEEK_END) - 4096))
            said = last_line(log.read())
        return exit_reason(status, said or self._noise.last_line)

    def wait(self, timeout_s: float) -> int | None:
        """The exit status, or None if the child still runs after `timeout_s`."""
        try:
            return self._process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """Kill the child and whatever it started, at once; whoever is listening hears the pipe close."""
        _kill(self._process)

    def end(self) -> None:
        """Kill the child and let go of it."""
        if self._read_end < 0:
            return
        self._owned.close()
        self._listener.close()
        self._read_end = -1


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill `process` and whatever it started, and take note of its end."""
    _kill(process)
    with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in the driver can't be waited for
        process.wait(timeout=10)
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # what it still held back can't be delivered any more
        process.stdin.close()
