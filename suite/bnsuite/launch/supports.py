"""The text of ``--supports``: the kinds of input and layer that an implementation supports.

Entries are ``NAME=WORD,WORD`` and are separated by semicolons, as in ``dims=2;dtypes=float32``. ``cases/support.py``
has the same words, and reads the attribute of an implementation.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

from bnsuite.record.errors import InputError

#: The entries there are, and the words of each; NUMBERS take numbers as well.
WORDS: dict[str, tuple[str, ...]] = {
    "dims": ("1", "2", "3"),
    "dtypes": ("float16", "bfloat16", "float32", "float64"),
    "devices": ("cpu", "cuda"),
    "layouts": ("contiguous", "channels-last", "strided"),
    "affine": ("true", "false"),
    "track_running_stats": ("true", "false"),
    "momentum": ("none", "number"),
    "eps": ("number",),
}
NUMBERS = ("momentum", "eps")


def parse(texts: Iterable[str], given_as: str = "--supports") -> dict[str, tuple[str, ...]] | None:
    """Returns the entries of all texts, None if there is none; a name that stands there twice has all its words.

    Raises InputError, which lists the choices.
    """
    entries: dict[str, tuple[str, ...]] = {}
    for entry in (part.strip() for text in texts for part in text.split(";")):
        if not entry:
            continue
        name, equals, listed = (part.strip() for part in entry.partition("="))
        if name not in WORDS:
            raise InputError(f"{given_as} {entry}: there is no entry {name!r}; choose among {', '.join(WORDS)}")
        words = tuple(word.strip().lower() for word in listed.split(",") if word.strip())
        choices = ", ".join(WORDS[name]) + (" (any) or a value such as 0.1" if name in NUMBERS else "")
        if not equals or not words:
            raise InputError(f"{given_as} {entry}: names no value; write it like {name}={WORDS[name][0]} ({choices})")
        for word in words:
            if word not in WORDS[name] and not (name in NUMBERS and _is_number(word)):
                raise InputError(f"{given_as} {entry}: {name} can't be {word!r}; choose among {choices}")
        entries[name] = tuple(dict.fromkeys((*entries.get(name, ()), *words)))
    return entries or None


def _is_number(word: str) -> bool:
    try:
        return isfinite(float(word))
    except ValueError:
        return False
