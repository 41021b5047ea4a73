"""Types of what is written on the command line: paths, positive numbers, durations and faults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click


class PathType(click.ParamType[Path]):
    """A path; an empty one is a variable that was not set, and not this folder."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Returns the path; BadParameter if it is empty."""
        if not str(value):
            self.fail("the path is empty", param, ctx)
        return Path(value)


class Positive(click.ParamType[float]):
    """A positive number, whole if `whole`."""

    name = "number"

    def __init__(self, *, whole: bool) -> None:
        self._kind = int if whole else float

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the number; BadParameter for anything else."""
        try:
            number = self._kind(value)
        except ValueError:
            number = self._kind(0)
        if not 0 < number < 1e9:
            self.fail(f"{value!r} is not a positive {'whole ' if self._kind is int else ''}number", param, ctx)
        return number


class Duration(click.ParamType[float]):
    """A duration such as ``90s``, ``10m`` or ``2h``, in seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns seconds; BadParameter for anything that is no duration."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)", value)
        seconds = float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
        if not 0 < seconds < 1e7:
            self.fail(f"{value!r} is no duration; write it like 90s, 10m or 2h", param, ctx)
        return seconds


#: Threads that one process spins at most.
MAX_SPINNING = 64


class Fault(click.ParamType[dict[str, float]]):
    """A fault such as ``slower=0.03``, ``holds=2097152`` or ``spins=1``, as the worker takes it."""

    name = "fault"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        """Returns the fault; BadParameter for anything that is none."""
        if isinstance(value, dict):
            return value
        name, _, amount = value.partition("=")
        try:
            if name == "slower" and 0 < float(amount) <= 10:
                return {"slower": float(amount)}
            if name == "holds" and 0 < int(amount) < 1 << 40:
                return {"bytes_held": int(amount)}
            if name == "spins" and 0 < int(amount) <= MAX_SPINNING:
                return {"spins": int(amount)}
        except ValueError:
            pass
        text = f"{value!r} is no fault; write it like slower=0.03 (a share), holds=2097152 (bytes) or spins=1 (threads)"
        return self.fail(text, param, ctx)
