"""How much of a report is shown; a module of its own, since every start of the command line imports it."""

from __future__ import annotations

from enum import Enum


class Detail(Enum):
    """The parts of a report that a terminal shows."""

    LAST_LINE = "last line"
    NEWS = "news"
    EVERYTHING = "everything"
