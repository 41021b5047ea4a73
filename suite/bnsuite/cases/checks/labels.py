"""The labels of a check, read off the words of its name: the one place that says what such a word means."""

from __future__ import annotations

import re
from functools import cache

#: Words of a check's name that have a label of their own; ``key=value`` is a label by itself.
WORDS: dict[str, re.Pattern[str]] = {
    label: re.compile(pattern)
    for label, pattern in {
        "layer": r"(sync_)?batch_norm(\dd(\+places)?)?|(layer|group|instance)_norm|lazy\dd|functional",
        "mode": r"train|eval",
        "dtype": r"b?float\d+|b?f\d\d",
        "layout": r"contiguous|channels-last|ncl?|n(chw|hwc|cdhw|dhwc)",
        "dimensions": r"\dd(-nc|\+places)?|\d-dim",
        "shape": r"\d+(x\d+)+",
    }.items()
}


def labels(name: str) -> dict[str, str]:
    """Returns the labels of a check's name, such as ``batch_norm2d/train/eps``; "aspect" is what has none else."""
    found: dict[str, str] = {}
    aspect = []
    for word in _words(name):
        key, equals, value = word.partition("=")
        label = key if equals else _label(word)
        if label is None or label in found:
            aspect.append(word)
        else:
            found[label] = value if equals else word
    return {**found, "aspect": "/".join(aspect)} if aspect else found


@cache
def _label(word: str) -> str | None:
    return next((label for label, pattern in WORDS.items() if pattern.fullmatch(word)), None)


def _words(name: str) -> list[str]:
    """The parts of `name`; ``momentum=0.3+eps=0.01`` is two."""
    parts = name.split("/")
    return [
        word for part in parts for word in (part.split("+") if part.count("+") + 1 == part.count("=") > 1 else [part])
    ]
