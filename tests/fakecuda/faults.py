"""A GPU that is busy, full, broken or gone, as children are told by variables.

FAKE_CUDA_BUSY        the first touch of a GPU fails: it is in exclusive mode, and another process has it
FAKE_CUDA_BREAKS=P:W  a process makes the file P, unless it is there, with its W-th kernel or wait, and from then on
                      each of its calls fails with an illegal access: a sticky error of one process
FAKE_CUDA_BYTES=N     each GPU has so many bytes (see marks.py)
FAKE_CUDA_LOST=P      where the file P exists every call fails, in every process: the GPU has fallen off the bus
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

ILLEGAL = ("an illegal memory access was encountered", 700)
GONE = ("unknown error", 999)
BUSY = ("CUDA-capable device(s) is/are busy or unavailable", 46)


class State:
    """The error that this process can't get rid of, and how many kernels and waits there were."""

    sticky: tuple[str, int] | None = None
    calls = 0


def error(words: str, number: int) -> RuntimeError:
    """Returns an error as torch raises it for CUDA's error `number`."""
    kind = getattr(torch, "AcceleratorError", RuntimeError)  # torch 2.8 and newer have it
    hints = "\nCUDA kernel errors might be asynchronously reported at some other API call."
    raised = kind(f"CUDA error: {words}{hints}")
    if kind is not RuntimeError:
        raised.error_code = number
    return raised


def break_for_good(words: str = ILLEGAL[0], number: int = ILLEGAL[1]) -> None:
    """Has every later call of this process fail, as after an illegal access."""
    State.sticky = (words, number)


def touch() -> None:
    """Raises where a process may not have the GPU."""
    if os.environ.get("FAKE_CUDA_BUSY"):
        raise error(*BUSY)
    check("touch")


def _is_first(path: Path) -> bool:
    """Returns True if this process makes the file; of several at once only one does."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def check(what: str) -> None:
    """Raises where the GPU is broken for this process, or gone."""
    gone = os.environ.get("FAKE_CUDA_LOST")
    if gone and Path(gone).exists():
        raise error(*GONE)
    path, _, count = os.environ.get("FAKE_CUDA_BREAKS", "").rpartition(":")
    if path and State.sticky is None and what not in {"touch", "event"}:
        State.calls += 1
        if State.calls >= int(count) and _is_first(Path(path)):
            break_for_good()
    if State.sticky is not None:
        raise error(*State.sticky)
