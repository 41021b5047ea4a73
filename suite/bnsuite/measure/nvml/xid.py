"""Xid events: the errors of a GPU that the driver reports, heard while the process measures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bnsuite.measure.nvml.binding import NvmlError, call, library

#: No more are read at once.
MAX_EVENTS = 100


@dataclass
class XidListener:
    """Hears the Xid events of one GPU from its making on; None instead of numbers where the driver lets nobody hear."""

    board: Any
    _events: Any = field(default=None, init=False)

    def __post_init__(self) -> None:
        try:
            events = call("nvmlEventSetCreate")
            call("nvmlDeviceRegisterEvents", self.board, library().nvmlEventTypeXidCriticalError, events)
        except NvmlError:
            return
        self._events = events

    def read(self) -> tuple[int, ...] | None:
        """The numbers of the events since the last call, without waiting for any."""
        if self._events is None:
            return None
        found: list[int] = []
        while len(found) < MAX_EVENTS:
            try:
                found.append(int(call(("nvmlEventSetWait_v2", "nvmlEventSetWait"), self._events, 0).eventData))
            except NvmlError:  # none is left, or the GPU has gone
                break
        return tuple(found)
