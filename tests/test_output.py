"""The output of the command line: colours and width of the screen, and lines that command nothing."""

from __future__ import annotations

import io
import sys

import pytest

from bnsuite.cli import output
from bnsuite.report.screen import UNLIMITED


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns that knows colours."""
    for name in ("NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.parametrize(
    ("color", "no_color", "painted"),
    [("auto", "", True), ("auto", "1", False), ("always", "1", True), ("never", "", False)],
)
def test_a_terminal_has_colours_unless_they_are_not_wanted(
    color: str, no_color: str, painted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_COLOR decides where nothing is said; an option wins over it. Symbols stay."""
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("COLUMNS", "80")
    screen = output.screen(color)
    assert (screen.width, screen.terminal, screen.color, screen.symbols) == (80, True, painted, True)


def test_a_dumb_terminal_has_neither_colours_nor_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the shell of an editor."""
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "dumb")
    screen = output.screen("auto")
    assert (screen.color, screen.symbols) == (False, False)


def test_a_pipe_has_a_width_only_if_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal nothing is wrapped, coloured or marked; COLUMNS is followed."""
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    screen = output.screen("auto")
    assert (screen.width, screen.terminal, screen.color, screen.symbols) == (UNLIMITED, False, False, False)
    assert output.screen("always").color
    monkeypatch.setenv("COLUMNS", "72")
    assert output.screen("auto").width == 72


def test_only_colours_come_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other escape code reaches the terminal, and no line is a command to the runner of a GitHub job."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    output.say_painted("\x1b[1;31mREGRESSED\x1b[0m \x1b]0;title\x07\x1b[2J\n  ::error::x")
    assert stream.getvalue() == "\x1b[1;31mREGRESSED\x1b[0m ?]0;title??[2J\n  : :error::x\n"
