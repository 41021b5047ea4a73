"""Outcomes of calls, and several checks as one."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from bnsuite.cases import gpu_errors, precision
from bnsuite.cases.checks.case import Observation, Observe, Subject

Word = Literal["accepted", "warned", "refused", "internal assertion"]

#: What the message of a failed assertion of torch's own says: a mistake of torch, and no refusal of an argument.
ASSERTION = re.compile(r"INTERNAL ASSERT|please report a bug to PyTorch")


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


@dataclass(frozen=True)
class Outcome:
    """What a call did: the word for it, the messages of its warnings, and that of its error."""

    word: Word
    warnings: tuple[str, ...] = ()
    error: str = ""

    def names(self, number: int) -> bool:
        """Returns True if the error gives this number."""
        return re.search(rf"(?<![\d.]){number}(?![\d.]*\d)", self.error) is not None


def word_of(error: Exception) -> Word:
    """Returns "refused" for an error, or "internal assertion"."""
    return "internal assertion" if ASSERTION.search(str(error)) else "refused"


def is_taken(layer: Callable[[Any], Any], x: Any) -> bool:
    """Calls, and returns True unless it is refused with a RuntimeError, as a pair of precisions may be."""
    try:
        layer(x)
    except RuntimeError as error:
        gpu_errors.note(error)
        return False
    return True


def outcome_in_words(call: Callable[[], Any]) -> Outcome:
    """Calls, and returns what came of it; warnings of kinds that say nothing of the arguments do not count."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
        except Exception as error:  # noqa: BLE001  # an error is what is looked at
            gpu_errors.note(error)
            failed: Exception | None = error
        else:
            failed = None
    said = tuple(str(one.message) for one in caught if one.category is UserWarning)
    if failed is None:
        return Outcome("warned" if said else "accepted", said)
    return Outcome(word_of(failed), said, str(failed))
