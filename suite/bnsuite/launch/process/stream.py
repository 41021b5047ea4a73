"""Messages picked out of what a measured process writes, which others may write to as well."""

from __future__ import annotations

import selectors
from collections.abc import Callable
from time import monotonic

from bnsuite.record.errors import NotMeasuredError

#: No message of a well-behaved child comes near; a longer line is not kept in memory.
LONGEST_LINE_BYTES = 64 << 20

#: How long a stream that never pauses is read on after its time, for a message that is just being written.
GRACE_S = 1.0


class ChildError(NotMeasuredError):
    """The measured process ended, fell silent or talked nonsense; the message says which, in one line."""


class SilentError(ChildError):
    """No message came in time."""


class Lines:
    """The lines of a stream, or those of its lines that carry `token`; the rest goes to `noise`.

    With a token a message is what stands between an ASCII record separator with the token and the end of the line:
    what Python's start printed before it, even without a newline, is no part of it.
    """

    def __init__(self, token: str | None = None, noise: Callable[[bytes], None] = lambda _: None) -> None:
        self._mark = b"" if token is None else b"\x1e" + token.encode()
        self._noise = noise
        self._held = bytearray()
        self._searched = 0

    def feed(self, some: bytes) -> None:
        """Take what was read."""
        self._held += some

    def next(self) -> str | None:
        """The next message that has come whole, or None; ChildError if it has no end."""
        while (end := self._held.find(b"\n", self._searched)) >= 0:
            line = bytes(self._held[:end])
            del self._held[: end + 1]
            self._searched = 0
            before, mark, message = line.partition(self._mark) if self._mark else (b"", b"", line)
            if before or not message:
                self._noise(before + b"\n")
            if mark or not self._mark:
                return message.decode(errors="replace")
        self._searched = len(self._held)
        if self._mark and self._mark not in self._held:
            self._let_go(len(self._held) - len(self._mark))
        elif len(self._held) > LONGEST_LINE_BYTES:
            raise ChildError("sent a line without end")
        return None

    def rest(self) -> None:
        """Nothing more will come: what is held is no message."""
        if self._mark:
            self._let_go(len(self._held))

    def _let_go(self, size: int) -> None:
        """Give the first `size` bytes to the noise."""
        if size > 0:
            self._noise(bytes(self._held[:size]))
            del self._held[:size]
            self._searched = len(self._held)


class Listener:
    """Hears messages on a file descriptor, within a time limit.

    `read` takes what is there and returns the part that may hold messages, or None at the end of the stream.
    """

    def __init__(self, descriptor: int, read: Callable[[], bytes | None], lines: Lines) -> None:
        self._read, self._lines = read, lines
        self._selector = selectors.DefaultSelector()
        self._selector.register(descriptor, selectors.EVENT_READ)

    def receive(self, timeout_s: float) -> str | None:
        """The next message, or None at the end of the stream; SilentError if none comes in time."""
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

    def close(self) -> None:
        """Listen no more; the descriptor stays open."""
        self._selector.close()
