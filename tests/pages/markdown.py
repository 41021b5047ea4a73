"""Markdown that generated pages are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table; a bar in a cell, which would end it, is escaped."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(text: str) -> str:
    """Returns `text` as code; nothing for no text."""
    return f"`{text}`" if text else ""


def paragraph(text: str) -> str:
    """Returns `text` on one line, as Markdown has paragraphs; double backticks become single ones."""
    return " ".join(text.replace("``", "`").split())
