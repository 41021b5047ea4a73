"""JSON lines to the outer half, over a file descriptor that nothing else writes to from then on."""

from __future__ import annotations

import json
import os
from typing import Any

#: Set in every worker process: the token in each of its messages, since code that runs as Python starts prints too.
TOKEN_VARIABLE = "BNSUITE_TOKEN"  # noqa: S105  # no secret


class Channel:
    """A one-way stream of messages, one JSON object per line, each written at once.

    With a `token`, an ASCII record separator and the token stand before each.
    """

    def __init__(self, descriptor: int, token: str | None = None) -> None:
        self._descriptor = descriptor
        self._getpid, self._pid = os.getpid, os.getpid()
        self._mark = b"" if token is None else b"\x1e" + token.encode()

    def send(self, message: dict[str, Any]) -> None:
        """Writes one message whole; the reader may be gone, which ends this process."""
        self.write(self.line(message))

    def line(self, message: dict[str, Any]) -> bytes:
        """A message as bytes. Raises ValueError for a number that JSON can't hold."""
        return self._mark + json.dumps(message, allow_nan=False).encode() + b"\n"

    def write(self, line: bytes) -> None:
        """Writes one line whole; a child that measured code has forked ends here, and says nothing."""
        if self._getpid() != self._pid:
            os._exit(1)
        while line:
            line = line[os.write(self._descriptor, line) :]
