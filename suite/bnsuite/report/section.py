"""A section that others add to a report for people: a title, tables under their sentences, and a last line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bnsuite.report import tabular, text


@dataclass(frozen=True)
class SectionTable:
    """One sentence, what follows it in plain letters, and the table below."""

    sentence: str
    summary: str
    headers: Sequence[str]
    align: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A section of a report; every text in it is plain and may be hostile."""

    title: str
    tables: tuple[SectionTable, ...] = ()
    #: The last line.
    summary: str = ""


def markdown(section: Section) -> str:
    """Returns the section as Markdown."""
    parts = [f"## {text.markdown(section.title)}", ""]
    for one in section.tables:
        table = tabular.markdown(one.rows, one.headers, one.align)
        parts += [f"**{text.markdown(one.sentence)}** {text.markdown(one.summary)}", "", table, ""]
    if section.summary:
        parts += [text.markdown(section.summary), ""]
    return "\n".join(parts)
