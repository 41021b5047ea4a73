"""Tables as text, for a terminal or for Markdown; nothing in a cell can leave its cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tabulate import tabulate

from bnsuite.report import text
from bnsuite.report.screen import Screen

NOTHING = "–"

#: Between two columns.
_GAP = 2
#: By so much tabulate makes a column wider than its header.
_PADDING = 2
#: A column is not made narrower than this.
_MIN_COLUMN = 12


def terminal(
    rows: Iterable[Sequence[str]],
    headers: Sequence[str],
    align: Sequence[str] = (),
    *,
    screen: Screen,
    optional: Sequence[str] = (),
) -> str:
    """Returns a table for a terminal that fits the screen.

    Where it is too wide, the columns `optional` are left out one by one, the first one first, and a line says so; then
    long cells are broken.
    """
    cells = _safe(rows, text.one_line)
    names, left_out = list(headers), []
    for name in optional:
        if _width(cells, names) <= screen.width:
            break
        place = names.index(name)
        left_out.append(name)
        names.pop(place)
        cells = [[*row[:place], *row[place + 1 :]] for row in cells]
        align = [*align[:place], *align[place + 1 :]]
    table = _table(_broken(cells, names, screen.width), names, align, "simple")
    if not left_out:
        return table
    note = f"not enough room for: {', '.join(reversed(left_out))}; a wider terminal shows them (or COLUMNS=200)"
    return "\n".join([table, *screen.wrap(note)])


def markdown(rows: Iterable[Sequence[str]], headers: Sequence[str], align: Sequence[str] = ()) -> str:
    """Returns a table for Markdown."""
    return _table(_safe(rows, text.markdown), headers, align, "github")


def _safe(rows: Iterable[Sequence[str]], safe: Callable[[str], str]) -> list[list[str]]:
    return [[safe(text.clipped(cell, text.MAX_CELL)) for cell in row] for row in rows]


def _table(cells: list[list[str]], headers: Sequence[str], align: Sequence[str], style: str) -> str:
    return tabulate(
        cells, headers=headers, tablefmt=style, colalign=align if align and cells else None, disable_numparse=True
    )


def _widths(cells: list[list[str]], headers: Sequence[str]) -> list[int]:
    return [max([len(name) + _PADDING, *(len(row[place]) for row in cells)]) for place, name in enumerate(headers)]


def _width(cells: list[list[str]], headers: Sequence[str]) -> int:
    return sum(_widths(cells, headers)) + _GAP * (len(headers) - 1)


def _broken(cells: list[list[str]], headers: Sequence[str], room: int) -> list[list[str]]:
    """Returns the cells with line breaks in those of the widest columns, until the table fits into `room`."""
    widths = _widths(cells, headers)
    while sum(widths) + _GAP * (len(widths) - 1) > room and max(widths) > _MIN_COLUMN:
        widths[widths.index(max(widths))] -= 1
    return [["\n".join(_lines(cell, width)) for cell, width in zip(row, widths, strict=True)] for row in cells]


def _lines(cell: str, width: int) -> list[str]:
    return Screen(width).wrap(cell) if len(cell) > width else [cell]
