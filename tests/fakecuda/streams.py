"""Events, streams, and the debug mode in which a wait for the GPU is an error.

Work is done when a call returns. Only a spin holds the queue back: marks behind it are reached when the host waits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

from fakecuda import faults

if TYPE_CHECKING:
    from typing_extensions import Self

DEFAULT, WARN, ERROR = 0, 1, 2


class State:
    """The streams that are entered, what is captured, and whether waits are errors."""

    streams: list[Stream]
    #: The captures under way: at most one.
    captures: ClassVar[list[Any]] = []
    debug_mode = DEFAULT
    #: How often the host waited.
    waits = 0
    #: A spin holds the queue back.
    held = False


class Event:
    """A point in time, which is over as soon as it is recorded, unless a spin comes before it."""

    def __init__(
        self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False, **_: Any
    ) -> None:
        self._timing, self._at_s, self._waits = enable_timing, None, None

    def record(self, stream: Stream | None = None) -> None:
        faults.check("event")
        self._at_s = perf_counter()
        self._waits = State.waits if State.held else None

    def synchronize(self) -> None:
        wait("event.synchronize")

    def query(self) -> bool:
        """Returns False between a spin and the host's next wait; other work is done already."""
        faults.check("event")
        return self._waits != State.waits

    def wait(self, stream: Stream | None = None) -> None:
        """Makes a stream wait, not the host."""

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds of the host's clock between two events."""
        if not (self._timing and end._timing):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        if self._at_s is None or end._at_s is None:
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        return (end._at_s - self._at_s) * 1e3


class Stream:
    """A queue of work, which is always empty."""

    cuda_stream = 0
    device_index = 0

    def __init__(self, device: Any = None, priority: int = 0, **_: Any) -> None:
        self.device, self.priority = device, priority

    def wait_stream(self, stream: Stream) -> None:
        """Makes this stream wait, not the host."""

    def wait_event(self, event: Event) -> None:
        """Makes this stream wait, not the host."""

    def record_event(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record(self)
        return event

    def synchronize(self) -> None:
        wait("stream.synchronize")

    def query(self) -> bool:
        return True

    def is_capturing(self) -> bool:
        return bool(State.captures)

    def __enter__(self) -> Self:
        State.streams.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        State.streams.pop()


State.streams = [Stream()]


def current_stream(device: Any = None) -> Stream:
    return State.streams[-1]


def default_stream(device: Any = None) -> Stream:
    return State.streams[0]


def set_stream(stream: Stream) -> None:
    State.streams[-1] = stream


@contextlib.contextmanager
def stream(entered: Stream | None) -> Iterator[None]:
    """Makes a stream the current one; it is no longer after an error either."""
    depth = len(State.streams)
    State.streams.append(entered or current_stream())
    try:
        yield
    finally:
        del State.streams[depth:]


def wait(what: str) -> None:
    """The host waits for the GPU: an error while a graph is captured, and where the debug mode forbids it."""
    State.waits += 1
    State.held = False
    faults.check(what)
    if State.captures:
        State.captures[-1].spoil()
        raise faults.error("operation not permitted when stream is capturing", 900)


def implicit_wait(what: str) -> None:
    """The same for a call that hides the wait, such as `item`; only these are what the debug mode is for."""
    if State.debug_mode == ERROR:
        raise RuntimeError(f"called a synchronizing CUDA operation ({what})")
    wait(what)


def set_sync_debug_mode(mode: int | str) -> None:
    State.debug_mode = {"default": DEFAULT, "warn": WARN, "error": ERROR}[mode] if isinstance(mode, str) else mode


def get_sync_debug_mode() -> int:
    return State.debug_mode
