"""JSON lines to the outer half, over a file descriptor that nothing else writes to."""

from __future__ import annotations

import json
import os
from typing import Any


class Channel:
    """A one-way stream of messages, one JSON object a line, each written at once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, message: dict[str, Any]) -> None:
        """Write one message whole; the reader may be gone, which ends this process."""
        line = json.dumps(message, allow_nan=False).encode() + b"\n"
        while line:
            line = line[os.write(self._descriptor, line) :]
