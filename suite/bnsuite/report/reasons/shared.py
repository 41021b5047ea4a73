"""Parts of sentences that reasons of several gates share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnsuite.report import text, units
from bnsuite.report.text import clipped, listed

Data = Mapping[str, Any]


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def changes_in_words(changes: Mapping[str, float]) -> str:
    return listed([f"{name} {units.change(change)}" for name, change in changes.items()])


def rule(data: Data) -> str:
    """Returns the rule that is broken, and the threads in which others reported it."""
    threads = data["threads"]
    others = " and others" if len(threads) > 2 else ""
    seen = f" (as in {', '.join(map(clipped, threads[:2]))}{others})" if threads else ""
    return f"the rule: {clipped(data['rule'] or 'none given', text.MAX_SENTENCE)}{seen}"


def launches(number: int) -> str:
    return units.count(number, "launch", "launches")


def seeds(number: int) -> str:
    return units.count(number, "seed")


def not_calibrated(data: Data) -> str:
    """Returns why a GPU is not judged by a limit."""
    what = "it was not measured when this GPU was calibrated" if data["calibrated"] else "this GPU is not calibrated"
    return f"{what} (`bnsuite calibrate`)"
