"""The progress of measuring, counted over all that belongs to one command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The latest measurement, `done` of `total`."""

    stage: str
    label: str
    done: int
    total: int


class ProgressCounter:
    """Counts measurements and reports each to `listen`."""

    def __init__(self, listen: Callable[[Progress], None]) -> None:
        self._listen = listen
        self._done = self._total = 0

    def expect(self, measurements: int) -> None:
        """Adds to the measurements that are to come; a negative number takes back what will not come."""
        self._total += measurements

    def advance(self, stage: str, label: str) -> None:
        """Counts one more measurement as done."""
        self._done += 1
        self._listen(Progress(stage, label, self._done, self._total))
