"""The outcome of a call in one word, with the warnings and the error's text that came with it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from bnsuite.cases import gpu_errors

Word = Literal["accepted", "warned", "refused", "internal assertion"]

#: What the message of a failed assertion of torch's own says: a mistake of torch, and no refusal of an argument.
ASSERTION = re.compile(r"INTERNAL ASSERT|please report a bug to PyTorch")


@dataclass(frozen=True)
class Outcome:
    """What a call did: the word for it, the messages of its warnings, and that of its error."""

    word: Word
    warnings: tuple[str, ...] = ()
    error: str = ""

    def names(self, number: int) -> bool:
        """Returns True if the error gives this number."""
        return re.search(rf"(?<![\d.]){number}(?![\d.]*\d)", self.error) is not None


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
    return Outcome("internal assertion" if ASSERTION.search(str(failed)) else "refused", said, str(failed))
