"""Interrupts: Ctrl-C, `docker stop` and a closed terminal end a command before its time, all three as Ctrl-C does."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: The exit status of an interrupted command.
STATUS = 3


class InterruptedRunError(KeyboardInterrupt):
    """The command is to end, with everything put in order.

    A kind of its own: where KeyboardInterrupt itself passes through exec(), as while a dataclass is being made, Python
    ends by SIGINT in the end, whatever exit status it is given.
    """


class _State:
    """The state of the signals' handler, which only the main thread runs."""

    received = False
    #: How many `deferred` blocks the main thread is in.
    deferrals = 0


def exit_immediately() -> None:
    """Has interrupts end the command on the spot: for as long as there is nothing to put in order."""
    _handle(_end)


def raise_interrupt() -> None:
    """Has the first interrupt raise InterruptedRunError; later ones are ignored."""
    _State.received = False
    _handle(_interrupt)


def received() -> bool:
    """Returns True once an interrupt came, whatever became of the exception: some code turns it into another."""
    return _State.received


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Defers interrupts to the end of the block.

    Meant for moments: between the start of a process and the note of it nobody could end the process.
    """
    if threading.current_thread() is not threading.main_thread():  # no other is ever interrupted
        yield
        return
    came_before = _State.received
    _State.deferrals += 1
    try:
        yield
    finally:
        _State.deferrals -= 1
        if _State.received and not came_before and not _State.deferrals:
            raise InterruptedRunError


def _handle(handler: Callable[..., None]) -> None:
    for one in SIGNALS:
        if signal.getsignal(one) is not signal.SIG_IGN:  # as under nohup
            signal.signal(one, handler)


def _end(*_: object) -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"bnsuite: interrupted\n")
    os._exit(STATUS)


def _interrupt(*_: object) -> None:
    for one in SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    _State.received = True
    if not _State.deferrals:
        raise InterruptedRunError
