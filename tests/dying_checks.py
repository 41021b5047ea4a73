"""Checks that end their process, each in its own way, for ``BNSUITE_CASES``; each has a process of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator

from bnsuite.cases import BehaviourCase, CheckNotApplicableError, Observation, Subject


def fine() -> None:
    os.write(1, b"a print\n")


def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def reads_nowhere() -> None:
    ctypes.string_at(0)


def leaves() -> None:
    os._exit(7)


def hangs() -> None:
    time.sleep(600)


def loses_its_gpu() -> None:
    raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be late")


def asserts() -> None:
    raise RuntimeError("CUDA error: device-side assert triggered")


def raises() -> None:
    raise ValueError("not of CUDA")


def finds_no_memory() -> None:
    raise RuntimeError("CUDA out of memory. Tried to allocate 8.00 GiB")


def is_refused() -> None:
    raise RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable")


def has_nothing() -> None:
    raise CheckNotApplicableError("there is nothing of it here")


def _observing(do: Callable[[], None]) -> Callable[[Subject], Iterator[Observation]]:
    def observe(subject: Subject) -> Iterator[Observation]:
        yield Observation("pid", str(os.getpid()))
        do()

    return observe


CASES = tuple(
    BehaviourCase(
        group="dying",
        name=do.__name__,
        observe=_observing(do),
        rule="a process ends well",
        child_s=1.0 if do is hangs else 60.0,
        limit_s=200.0,
    )
    for do in (
        fine,
        is_killed,
        reads_nowhere,
        leaves,
        hangs,
        loses_its_gpu,
        asserts,
        raises,
        finds_no_memory,
        is_refused,
        has_nothing,
    )
)
