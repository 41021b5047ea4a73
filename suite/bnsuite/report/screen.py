"""The screen that text is made for: its width, and whether it shows colours and symbols.

Text from elsewhere is made harmless before it is painted (see ``text``); a painted line holds no other escape codes
than those of this module.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from bnsuite.judge.verdict import Verdict

#: Narrower than this, words no longer fit.
MIN_WIDTH = 40
#: Letters of a line of text on a wide terminal; tables use all of it.
MAX_TEXT = 120
#: The width of what is no terminal: nothing is broken in a file, a pipe or the log of a job.
UNLIMITED = 1_000_000

#: Select Graphic Rendition codes: bold, faint, and the eight colours that every terminal has.
BOLD, FAINT, RED, GREEN, YELLOW, MAGENTA, CYAN = "1", "2", "31", "32", "33", "35", "36"

#: Verdicts by symbol and colour. The word always stands beside them.
_LOOKS: dict[Verdict, tuple[str, str]] = {
    Verdict.REGRESSED: ("✗", RED),
    Verdict.FAILED: ("✗", MAGENTA),
    Verdict.MISSING: ("✗", MAGENTA),
    Verdict.INVALID: ("!", MAGENTA),
    Verdict.INCONCLUSIVE: ("?", YELLOW),
    Verdict.NO_BASELINE: ("·", FAINT),
    Verdict.SKIPPED: ("·", FAINT),
    Verdict.IMPROVED: ("↑", CYAN),
    Verdict.PASS: ("✓", GREEN),
}


@dataclass(frozen=True)
class Screen:
    """The reader's screen; a file or a pipe has neither colours nor symbols."""

    width: int = UNLIMITED
    #: Whether it is a terminal.
    terminal: bool = False
    color: bool = False
    symbols: bool = False

    @property
    def _text_width(self) -> int:
        return self.width if self.width >= UNLIMITED else min(self.width, MAX_TEXT)

    def paint(self, text: str, *codes: str) -> str:
        """Returns text in the given look, or as it is where there are no colours."""
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self.color and text else text

    def faint(self, text: str) -> str:
        """Returns text that is of less importance."""
        return self.paint(text, FAINT)

    def verdict(self, verdict: Verdict) -> str:
        """Returns a verdict's word, after its symbol where symbols are shown."""
        symbol, color = _LOOKS[verdict]
        return self.paint(f"{symbol} {verdict.value}" if self.symbols else verdict.value, BOLD, color)

    def word(self, verdict: Verdict) -> str:
        """Returns a verdict's word in its colour, for a cell of a table."""
        return self.paint(verdict.value, _LOOKS[verdict][1])

    def wrap(self, text: str, indent: int = 0, hanging: int | None = None) -> list[str]:
        """Returns lines that fit: broken between words, and a word that is too long behind a slash or a comma."""
        first, rest = " " * indent, " " * (indent if hanging is None else hanging)
        width = self._text_width
        room = width - max(len(first), len(rest))
        words = " ".join(piece for word in text.split() for piece in broken(word, room))
        lines = textwrap.wrap(
            words,
            width,
            initial_indent=first,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )
        return lines or [""]

    def command(self, command: str, indent: int) -> list[str]:
        """Returns a command on lines that a shell reads as one; an argument that is too long stays whole."""
        lines: list[str] = []
        line = " " * indent
        for word in _arguments(command):
            longer = f"{line}{' ' if line.strip() else ''}{word}"
            if line.strip() and len(longer) > self._text_width - 2:
                lines.append(f"{line} \\")
                line = " " * (indent + 2) + word
            else:
                line = longer
        return [*lines, line]


def broken(word: str, room: int) -> list[str]:
    """Returns pieces of a word that fit into `room`, broken behind slashes and commas where there are any."""
    pieces = []
    while len(word) > room:
        head = word[:room]
        cut = max(head.rfind("/"), head.rfind(",")) + 1
        cut = cut if cut > room // 3 else room
        pieces.append(word[:cut])
        word = word[cut:]
    return [*pieces, word]


def _arguments(command: str) -> list[str]:
    """Returns the words of a command with their quotes; an option stays with its value."""
    words = re.findall(r"(?:'[^']*'|\"[^\"]*\"|\S)+", command)
    joined: list[str] = []
    for word in words:
        if joined and joined[-1].startswith("-") and " " not in joined[-1] and not word.startswith("-"):
            joined[-1] = f"{joined[-1]} {word}"
        else:
            joined.append(word)
    return joined
