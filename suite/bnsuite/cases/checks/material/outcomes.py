"""Outcomes of calls, and several checks as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from bnsuite.cases import gpu_errors, precision
from bnsuite.cases.checks.case import Observation, Observe, Subject


def outcome_of(call: Callable[[], Any]) -> str:
    """Returns the outcome of a call: "returned", or the name of its error."""
    try:
        call()
    except Exception as error:  # noqa: BLE001  # an error is what is looked at
        gpu_errors.note(error)
        return type(error).__name__
    return "returned"


def returned_or_refused(call: Callable[[], Any]) -> str:
    """Returns "returned", or "refused" for any exception."""
    return "returned" if outcome_of(call) == "returned" else "refused"


def each_backend(subject: Subject, *, observers: Mapping[str, Observe]) -> Iterator[Observation]:
    """Yields the observations of all `observers` under their names; on CUDA once more with cuDNN off."""
    import torch

    def seen(prefix: str) -> Iterator[Observation]:
        for name, observe in observers.items():
            for one in observe(subject):
                yield replace(one, what=f"{prefix}{name}/{one.what}" if name else f"{prefix}{one.what}")

    yield from seen("")
    if torch.device(subject.device).type == "cuda":
        with precision.cudnn(enabled=False):
            found = list(seen("cudnn=off/"))
        yield from found
