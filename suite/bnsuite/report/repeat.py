"""The command that measures cases again, as a person types it into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from bnsuite.record.errors import InputError
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.schema import Run
from bnsuite.record.select import expression, matcher

#: The seconds that a case may take where nothing else is said.
DEFAULT_TIMEOUT_S = 300.0


def run_again(run: Run, cases: Sequence[str], *more: str, profile: str | None = None) -> str | None:
    """Returns the command that measures `cases` of a run again, with the options in `more`.

    None where no command can: an id or a name in it is no text that can be typed.
    """
    options = run.options
    head = ["bnsuite", "--device", run.device, "--profile", profile or options.profile]
    named = ["--impl", options.implementation] if options.implementation is not None else []
    where = ["--environment", options.environment] if options.environment != "." else []
    return _command([*head, *_selected(cases), *named, *where, *_limits(run), *more], cases)


def compare_again(run: Run, times: InterleavedTimes, cases: Sequence[str], *, profile: str | None = None) -> str | None:
    """Returns the command that compares two environments again by `cases`; None where no command can.

    `run` is B's.
    """
    options = run.options
    if times.a.startswith("-") or times.b.startswith("-"):
        return None
    head = ["bnsuite", "ab", times.a, times.b, "--device", run.device, "--profile", profile or options.profile]
    named = ["--impl-b", options.implementation] if options.implementation is not None else []
    injected = [part for name, amount in times.injected.items() for part in ("--inject", _fault(name, amount))]
    rest = [*_selected(cases), *named, *_limits(run), *injected, "--seed", str(times.seed)]
    return _command([*head, *rest], cases)


def _selected(cases: Sequence[str]) -> list[str]:
    return ["-k", expression(cases) or ""]


def _limits(run: Run) -> list[str]:
    """Returns the options of a run that are not the defaults."""
    options = run.options
    parts = [part for name in options.cases for part in ("--cases", name)]
    if options.threads != 1:
        parts += ["--threads", str(options.threads)]
    if options.timeout_s != DEFAULT_TIMEOUT_S:
        parts += ["--timeout", f"{options.timeout_s:g}"]
    return parts


def _fault(name: str, amount: float) -> str:
    return f"holds={amount:.0f}" if name == "bytes_held" else f"{name}={amount:g}"


def _command(words: list[str], cases: Sequence[str]) -> str | None:
    selected = expression(cases)
    if selected is None or not all(map(str.isprintable, words)) or not all(words):
        return None
    try:
        matches = matcher(selected)
    except InputError:  # an id may be a word of the language, such as "or"
        return None
    return shlex.join(words) if all(map(matches, cases)) else None
