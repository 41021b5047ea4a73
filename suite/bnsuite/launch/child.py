"""A measured process: started in a group of its own, listened to line by line, ended with all it started."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
from pathlib import Path
from time import monotonic
from typing import IO

from bnsuite.record.errors import NotMeasuredError

#: No message of a well-behaved child comes near; a longer line is not kept in memory.
LONGEST_LINE_BYTES = 64 << 20


class ChildError(NotMeasuredError):
    """The measured process ended, fell silent or talked nonsense; the message says which, in one line."""


class SilentError(ChildError):
    """No message came in time."""


class Child:
    """A process whose messages come as lines on a pipe.

    `message_fd` is the number under which the child sees its end of the pipe, or None for its stdout. Everything
    else that it prints goes to `log`.
    """

    def __init__(
        self, command: list[str], *, environment: dict[str, str], folder: Path, log: Path, own_pipe: bool
    ) -> None:
        self.log = log
        read_end, write_end = os.pipe()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [part.replace("{fd}", str(write_end)) for part in command],
                stdin=subprocess.PIPE,
                stdout=output if own_pipe else write_end,
                stderr=output,
                pass_fds=(write_end,) if own_pipe else (),
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        os.close(write_end)
        self._read_end = read_end
        self._buffer = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(read_end, selectors.EVENT_READ)

    def send(self, line: str) -> None:
        """Write one line to the child's stdin."""
        stdin: IO[bytes] | None = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(line.encode() + b"\n")
            stdin.flush()
        except OSError:
            raise ChildError(self.last_words()) from None

    def receive(self, timeout_s: float) -> str | None:
        """The next line, or None when the child has closed its end; SilentError if none comes in time."""
        deadline = monotonic() + timeout_s
        while b"\n" not in self._buffer:
            if len(self._buffer) > LONGEST_LINE_BYTES:
                raise ChildError("sent a line without end")
            if not self._selector.select(max(0.0, deadline - monotonic())):
                raise SilentError(f"said nothing for {timeout_s:g} s")
            more = os.read(self._read_end, 1 << 16)
            if not more:
                return None
            self._buffer += more
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line.decode(errors="replace")

    def last_words(self) -> str:
        """How the child ended, once its pipe is closed: the signal or the exit status, and its last line."""
        try:
            status = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "closed its messages but goes on running"
        if status < 0:
            name = signal.Signals(-status).name
            hint = "; the kernel ends processes so when memory runs out" if name == "SIGKILL" else ""
            return f"the process was ended by {name}{hint}"
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"the process ended with status {status}" + (f": {lines[-1][:200]}" if lines else "")

    def wait(self, timeout_s: float) -> int | None:
        """The exit status, or None if the child still runs after `timeout_s`."""
        try:
            return self._process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """Kill the child and whatever it started, at once; whoever is listening hears the pipe close."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill the child and let go of it."""
        if self._read_end < 0:
            return
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in the driver can't be waited for
            self._process.wait(timeout=10)
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError):  # what it still held back can't be delivered any more
            stdin.close()
        self._selector.close()
        os.close(self._read_end)
        self._read_end = -1
