"""Background load: a process that works on another core than the timed one, as other users of a machine do."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from bnsuite.launch.process import isolation
from bnsuite.record.errors import InputError

#: The load computes and copies more than caches hold, by turns, and ends with its stdin.
WORK = """
import os, sys, threading
os.sched_setaffinity(0, {int(sys.argv[1])})
def listen():
    sys.stdin.read()
    os._exit(0)
threading.Thread(target=listen, daemon=True).start()
block = bytearray(64 << 20)
while True:
    bytes(block)
    sum(range(500_000))
"""


@contextlib.contextmanager
def busy(threads: int) -> Iterator[None]:
    """Runs background load beside cases that are timed on `threads` cores; InputError if none is left."""
    given = isolation.cores()
    if not isolation.timed_cores(threads, given):
        raise InputError(
            f"--busy: {len(given)} cores are given, and {threads} are timed on; give this process one more"
        )
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", WORK, str(given[0])],
        stdin=subprocess.PIPE,
        env={**os.environ, **isolation.keep_heap()},
        start_new_session=True,  # Ctrl-C is for whoever waits for the measuring to end
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
