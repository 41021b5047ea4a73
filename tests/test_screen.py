"""Lines that fit a screen, and its colours and symbols."""

from __future__ import annotations

import shlex

import pytest

from bnsuite.judge.verdict import Verdict
from bnsuite.report import tabular
from bnsuite.report.screen import UNLIMITED, Screen

LONG = "ratio/layer-vs-composition/batch_norm2d/fwd+bwd/f32/nchw/32x256x14x14"


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_line_is_longer_than_the_screen(width: int) -> None:
    """Words stay whole where they fit; a longer one is broken behind a slash; nothing is lost."""
    text = f"a slowdown of {LONG} that is not confirmed, after {'x' * 130}"
    lines = Screen(width).wrap(text, 4, 6)
    assert max(map(len, lines)) <= width
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert lines[0].startswith("    a slowdown")
    assert all(line.startswith("      ") for line in lines[1:])


def test_a_pipe_has_no_width() -> None:
    """A file and the log of a job hold each sentence in one line."""
    assert Screen().width == UNLIMITED
    assert len(Screen().wrap("word " * 1000)) == 1


def test_a_command_stays_one_command() -> None:
    """Its lines end in a backslash, options keep their values, and a shell reads the same words."""
    command = f"bnsuite ab torch==2.13.0 . --device cpu --profile full -k '{LONG} or op/batch_norm1d'"
    lines = Screen(60).command(command, 4)
    assert len(lines) > 1
    assert all(line.endswith(" \\") for line in lines[:-1])
    assert any("--profile full" in line for line in lines)
    assert shlex.split("\n".join(lines).replace("\\\n", " ")) == shlex.split(command)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_verdict_is_never_a_colour_alone(verdict: Verdict) -> None:
    """The word stands there with and without colours, and before it a symbol on a terminal."""
    assert Screen().verdict(verdict) == verdict.value
    shown = Screen(80, terminal=True, color=True, symbols=True).verdict(verdict)
    assert shown.startswith("\x1b[")
    assert f" {verdict.value}\x1b[0m" in shown


ROWS = [[LONG, "4.53 ms", "± 3.0 %", "+1.0 %", "PASS"], ["op/a", "1.00 s", "–", "12 checks, 3 with a pin", "REGRESSED"]]
HEADERS = ("case", "median", "spread", "change", "verdict")


def test_a_narrow_table_has_fewer_columns_and_says_so() -> None:
    """Columns that may go are left out in order; what is left fits, with long cells on several lines."""
    table = tabular.terminal(ROWS, HEADERS, screen=Screen(60), optional=("spread", "median"))
    lines = table.splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[0].split() == ["case", "change", "verdict"]
    assert "not enough room for: median, spread" in table
    first_column = "".join(line[: lines[0].index("change")].strip() for line in lines[2:5])
    assert LONG in first_column


def test_a_wide_table_has_every_column() -> None:
    """On a wide screen and in a file nothing is left out or broken."""
    for screen in (Screen(200), Screen()):
        table = tabular.terminal(ROWS, HEADERS, screen=screen, optional=("spread", "median"))
        assert table.splitlines()[0].split() == list(HEADERS)
        assert "not enough room" not in table
        assert len(table.splitlines()) == 4
