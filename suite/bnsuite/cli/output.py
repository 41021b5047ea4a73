"""The output of the command line: results to stdout, everything else to stderr."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from bnsuite.experiments.events import (
    BisectBegan,
    BisectCompared,
    Event,
    Notify,
    Planned,
    Remark,
    TrialBegan,
    TrialDropped,
    TrialEnded,
)
from bnsuite.launch.process import interrupts
from bnsuite.launch.progress import Progress
from bnsuite.record.errors import InputError, NotMeasuredError, one_line

if TYPE_CHECKING:
    from bnsuite.report.screen import Screen

#: The beginning of a line that the log of a GitHub job takes as a command: an id may begin so.
_COMMAND = re.compile(r"^(\s*)::")
#: A change of colour or weight.
_COLOR = re.compile("\x1b\\[[0-9;]*m")


def prepare() -> None:
    """Keep a letter that the terminal's encoding doesn't know from ending a run; a closed stream is no stream."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us: what is said goes nowhere
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  # for as long as we run
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def screen(color: str) -> Screen:
    """The screen behind stdout; `color` is "always", "never", or "auto": on a terminal, unless NO_COLOR is set."""
    from bnsuite.report.screen import MIN_WIDTH, UNLIMITED, Screen

    terminal = sys.stdout.isatty()
    known = shutil.get_terminal_size((UNLIMITED, 24)).columns
    wanted = color == "always" or (color == "auto" and terminal and not os.environ.get("NO_COLOR"))
    dumb = os.environ.get("TERM") == "dumb"
    return Screen(
        width=max(known, MIN_WIDTH),
        terminal=terminal,
        color=wanted and (color == "always" or not dumb),
        symbols=terminal and not dumb and (sys.stdout.encoding or "").lower().startswith("utf"),
    )


def say(text: str) -> None:
    """Print to stdout; if whoever read it has left, as ``head`` does, the rest goes nowhere."""
    _say("\n".join(map(_printable, text.split("\n"))))


def say_painted(text: str) -> None:
    """Print what was made for a screen: it may hold colours, and no other escape codes."""
    _say("\n".join(map(_painted, text.split("\n"))))


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise InputError(f"stdout: cannot be written to: {error.strerror}; send it elsewhere") from error


def remark(text: str) -> None:
    """Print one line to stderr, after the name of the command; control characters are replaced."""
    with contextlib.suppress(OSError):
        print(f"bnsuite: {_printable(' '.join(text.split()))}", file=sys.stderr, flush=True)


def _printable(line: str) -> str:
    """`line` without what would make a terminal do more than print."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _painted(line: str) -> str:
    """`line` without what would make a terminal do more than print in colours."""
    pieces = _COLOR.split(line)
    colors = _COLOR.findall(line)
    shown = "".join(f"{_printable(piece)}{color}" for piece, color in zip(pieces, [*colors, ""], strict=True))
    return _COMMAND.sub(r"\1: :", shown)


@contextlib.contextmanager
def progress(*, stages: bool = True) -> Iterator[Notify]:
    """Yields what shows events on stderr: measurements as a bar or, with `stages`, as lines of a log; others as lines.

    A terminal has room for one bar: only what measures may open this.
    """
    from bnsuite.report.progress import listener

    shown, listen = listener(sys.stderr if stages or sys.stderr.isatty() else io.StringIO())

    def notify(event: Event) -> None:
        if isinstance(event, Progress):
            listen(event)
        else:
            remark(words(event))

    with shown:
        yield notify


def lines(say_step: Callable[[str], None] = remark) -> Notify:
    """What prints an experiment's events but its measurements: steps of a search by `say_step`, others on stderr."""

    def notify(event: Event) -> None:
        if isinstance(event, BisectBegan | BisectCompared):
            say_step(words(event))
        elif not isinstance(event, Progress):
            remark(words(event))

    return notify


def words(event: Event) -> str:
    """An event that is no measurement, in one line."""
    from bnsuite.judge.selftest import counts
    from bnsuite.report import bisect, planning, units

    if isinstance(event, Remark | Planned):
        return event.text if isinstance(event, Remark) else planning.before(event.estimate, event.budget_s)
    if isinstance(event, BisectBegan):
        return bisect.beginning(event.environments)
    if isinstance(event, BisectCompared):
        return bisect.step(event.step)
    if isinstance(event, TrialBegan):
        return f"{event.number} of {event.total}: {event.kind}, {event.variant}"
    if isinstance(event, TrialDropped):
        return f"not counted: the budget ended it, after {units.duration(event.wall_s)}"
    assert isinstance(event, TrialEnded)
    kept = f"; see {event.folder}" if event.folder else ""
    return f"{event.end.value}: {counts(event.verdicts)}{kept}, after {units.duration(event.wall_s)}"


def status_of(error: Exception) -> tuple[int, str]:
    """The exit status that an error stands for, and its line."""
    if isinstance(error, InputError):
        return 2, str(error)
    if isinstance(error, NotMeasuredError):
        return 3, str(error)
    if isinstance(error, PermissionError) and error.filename is not None:
        return 2, f"{error.filename}: {error.strerror}; give this user access (in a container: docker run --user)"
    return 3, "interrupted" if interrupts.received() else f"{one_line(error)}; --debug shows where"
