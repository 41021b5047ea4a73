"""Tables as text, for a terminal or for Markdown; nothing in a cell can leave its cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tabulate import tabulate

from bnsuite.report import text

NOTHING = "–"


def terminal(
    rows: Iterable[Sequence[str]], headers: Sequence[str], align: Sequence[str] = (), style: str = "simple"
) -> str:
    """Returns a table for a terminal; `style` is one of tabulate's."""
    return _table(rows, headers, align, style, text.one_line)


def markdown(rows: Iterable[Sequence[str]], headers: Sequence[str], align: Sequence[str] = ()) -> str:
    """Returns a table for Markdown."""
    return _table(rows, headers, align, "github", text.markdown)


def _table(
    rows: Iterable[Sequence[str]], headers: Sequence[str], align: Sequence[str], style: str, safe: Callable[[str], str]
) -> str:
    cells = [[safe(text.clipped(cell, text.MAX_CELL)) for cell in row] for row in rows]
    return tabulate(
        cells, headers=headers, tablefmt=style, colalign=align if align and cells else None, disable_numparse=True
    )
