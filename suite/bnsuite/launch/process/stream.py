"""Messages in the output of a measured process, to which other code may write as well."""

from __future__ import annotations

import contextlib
import selectors
from collections.abc import Callable
from time import monotonic

from bnsuite.record.errors import NotMeasuredError

#: No message of a well-behaved child comes near; a longer line is not kept in memory.
LONGEST_LINE_BYTES = 64 << 20

#: A stream that never pauses is read so much longer than its limit, for a message that is just being written.
GRACE_S = 1.0


class ChildError(NotMeasuredError):
    """The measured process ended, fell silent or sent something unusable; the message says which, in one line."""


class SilentError(ChildError):
    """No message came in time."""


class Lines:
    """The lines of a stream, or only those that carry `token`; the rest goes to `noise`.

    With a token a message begins after an ASCII record separator with the token and ends with the line: output of
    Python's start before it, even without a newline, is no part of it.
    """

    def __init__(self, token: str | None = None, noise: Callable[[bytes], None] = lambda _: None) -> None:
        self._mark = b"" if token is None else b"\x1e" + token.encode()
        self._noise = noise
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, some: bytes) -> None:
        """Takes bytes that were read."""
        self._buffer += some

    def next(self) -> str | None:
        """Returns the next complete message, or None; ChildError if it has no end."""
        while (end := self._buffer.find(b"\n", self._searched)) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._searched = 0
            before, mark, message = line.partition(self._mark) if self._mark else (b"", b"", line)
            if before or not message:
                self._noise(before + b"\n")
            if mark or not self._mark:
                return message.decode(errors="replace")
        self._searched = len(self._buffer)
        if self._mark and self._mark not in self._buffer:
            self._discard(len(self._buffer) - len(self._mark))
        elif len(self._buffer) > LONGEST_LINE_BYTES:
            raise ChildError("sent a line without end")
        return None

    def rest(self) -> None:
        """Takes note of the end of the stream: the bytes that are left are no message."""
        if self._mark:
            self._discard(len(self._buffer))

    def _discard(self, size: int) -> None:
        """Passes the first `size` bytes to the noise."""
        if size > 0:
            self._noise(bytes(self._buffer[:size]))
            del self._buffer[:size]
            self._searched = len(self._buffer)


class Listener:
    """Receives messages from a file descriptor, within a time limit.

    `read` reads once and returns the part that may hold messages, or None at the end of the stream.
    """

    def __init__(self, descriptor: int, read: Callable[[], bytes | None], lines: Lines) -> None:
        self._read, self._lines = read, lines
        self._selector = selectors.DefaultSelector()
        self._selector.register(descriptor, selectors.EVENT_READ)

    def receive(self, timeout_s: float) -> str | None:
        """Returns the next message, or None at the end of the stream; SilentError if none comes in time."""
        deadline = monotonic() + timeout_s
        while (message := self._lines.next()) is None:
            left = deadline - monotonic()
            if left < -GRACE_S or not self._selector.select(max(0.0, left)):
                raise SilentError(f"said nothing for {timeout_s:g} s")
            some = self._read()
            if some is None:
                self._lines.rest()
                return None
            self._lines.feed(some)
        return message

    def drain(self, timeout_s: float) -> None:
        """Reads what is left, to the end of the stream or for `timeout_s`; its noise may say why a process ended."""
        deadline = monotonic() + timeout_s
        with contextlib.suppress(ChildError):
            while self.receive(max(0.0, deadline - monotonic())) is not None:
                pass

    def close(self) -> None:
        """Stops listening; the descriptor stays open."""
        self._selector.close()
