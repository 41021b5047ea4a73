"""What ends a command before its time: Ctrl-C, `docker stop`, a closed terminal. All three do as Ctrl-C does."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: The exit status of a command that was ended so.
STATUS = 3


class InterruptedRunError(KeyboardInterrupt):
    """The command is to end, in order.

    A kind of its own: where KeyboardInterrupt itself passes through exec(), as while a dataclass is being made, Python
    ends by SIGINT in the end, whatever exit status it is given.
    """


class _Endings:
    """The state that the handler of the signals needs; only the main thread ever runs it."""

    came = False
    holds = 0


def exit_immediately() -> None:
    """From now on they end the command on the spot: for as long as there is nothing to put in order."""
    _handle(_end)


def raise_interrupt() -> None:
    """From now on the first of them raises InterruptedRunError; impatient ones after it don't spoil that."""
    _Endings.came = False
    _handle(_interrupt)


def received() -> bool:
    """Whether one of them came, whatever became of the exception: some code turns it into another."""
    return _Endings.came


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """What is done here is done whole: an interrupt waits for the end of it.

    Meant for moments: between the start of a process and the note of it nobody could end the process.
    """
    if threading.current_thread() is not threading.main_thread():  # no other is ever interrupted
        yield
        return
    came_before = _Endings.came
    _Endings.holds += 1
    try:
        yield
    finally:
        _Endings.holds -= 1
        if _Endings.came and not came_before and not _Endings.holds:
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
    _Endings.came = True
    if not _Endings.holds:
        raise InterruptedRunError
