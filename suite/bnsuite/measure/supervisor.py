"""The first process of a container (PID 1): starts the worker, ends with it, and ends it when its client is gone.

Started as ``python -m bnsuite.measure.supervisor``. A worker that hangs in a kernel does not notice the end of its
stdin, and the first process of a container ignores most signals, which a measured process must not do.
"""

from __future__ import annotations

import json
import os
import platform
import select
import signal
import sys

#: Settings of the heap, each with the oldest glibc that accepts them, newest first, as JSON.
HEAPS_VARIABLE = "BNSUITE_HEAPS"


def _set_heap() -> None:
    """Sets what this container's glibc accepts; it is read when the worker starts."""
    version = [int(part) for part in platform.libc_ver()[1].split(".")[:2] if part.isdigit()]
    for oldest, settings in json.loads(os.environ.pop(HEAPS_VARIABLE, "[]")):
        if version >= oldest:
            os.environ.update(settings)
            return


def main() -> None:
    """Runs a worker; the exit status is its own, or 128 and the signal that ended it."""
    _set_heap()
    wake_up, wake_up_write = os.pipe()
    os.set_blocking(wake_up_write, False)
    signal.set_wakeup_fd(wake_up_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    worker = os.posix_spawn(sys.executable, [sys.executable, "-m", "bnsuite.measure.worker"], os.environ)
    poll = select.poll()
    poll.register(0, 0)  # stdin is the worker's to read; a hang-up is reported without being asked for
    poll.register(wake_up, select.POLLIN)
    while True:
        if any(descriptor == 0 for descriptor, _ in poll.poll()):
            os._exit(128 + signal.SIGHUP)  # the rest of a container ends with its first process
        os.read(wake_up, 4096)
        _reap(worker)


def _reap(worker: int) -> None:
    """Collects every process that has ended; the worker's end is this one's."""
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if ended == worker:
            os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
        if ended == 0:
            return


if __name__ == "__main__":
    main()
