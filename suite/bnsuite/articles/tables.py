"""The articles' claims and the measured answers, as text for a terminal and as a section of a report."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from bnsuite.articles.claims import Claim, Row, Scale
from bnsuite.report import tabular, units
from bnsuite.report.screen import Screen
from bnsuite.report.section import Section, SectionTable

HEADERS = ("where", "effect", "mean", "95 % interval", "seeds", "answer")
ALIGN = ("left", "left", "right", "left", "right", "left")

Answered = Sequence[tuple[Claim, list[Row]]]


def terminal(answered: Answered, screen: Screen) -> str:
    """Returns every claim with a table of the places where it was tested, as wide as the screen at most."""
    parts: list[str] = []
    for claim, rows in answered:
        parts += screen.wrap(f"{claim.text} (article {claim.article}): {_counted(rows)}")
        if rows:
            parts.append(tabular.terminal(_cells(rows), HEADERS, ALIGN, screen=screen, optional=("seeds", "mean")))
        parts.append("")
    return "\n".join([*parts, *screen.wrap(summary(answered))])


def section(answered: Answered) -> Section:
    """Returns the same as a section of a report, tested claims only."""
    tables = tuple(
        SectionTable(claim.text, f"(article {claim.article}): {_counted(rows)}", HEADERS, ALIGN, _cells(rows))
        for claim, rows in answered
        if rows
    )
    return Section("What the articles claim", tables, summary(answered))


def as_json(answered: Answered) -> str:
    """Returns the answers as JSON; effects on scale "ratio" are natural logarithms."""
    return json.dumps(
        {
            "schema": 1,
            "claims": [
                {
                    "name": claim.name,
                    "text": claim.text,
                    "article": claim.article,
                    "rows": [asdict(row) for row in rows],
                }
                for claim, rows in answered
            ],
        },
        indent=1,
    )


def summary(answered: Answered) -> str:
    """Returns one line: the answers of all places, and how many claims were not tested."""
    rows = [row for _, rows in answered for row in rows]
    untried = sum(not rows for _, rows in answered)
    more = f"; {untried} claims were not tried in this run, --profile full tries all" if untried else ""
    each = " (each interval by itself: one in twenty misses)" if rows else ""
    return f"{len(answered)} claims, {len(rows)} places: {_counted(rows)}{each}{more}"


def _counted(rows: Iterable[Row]) -> str:
    answers = [row.answer.value for row in rows]
    return (
        ", ".join(f"{answers.count(answer)} {answer}" for answer in dict.fromkeys(answers)) or "not tried in this run"
    )


def _cells(rows: Iterable[Row]) -> list[tuple[str, ...]]:
    return [
        (
            row.where,
            row.what,
            effect(row.scale, row.mean),
            f"{effect(row.scale, row.low)} to {effect(row.scale, row.high)}",
            str(row.seeds),
            row.answer.value,
        )
        for row in rows
    ]


def effect(scale: Scale, value: float) -> str:
    """Returns an effect with its sign and unit."""
    if scale is Scale.EPOCHS:
        return f"{value:+.2f} epochs"
    if scale is Scale.POINTS:
        return f"{100 * value:+.1f} points"
    if scale is Scale.LOSS:
        return f"{value:+.3f}"
    ratio = math.exp(min(value, 700.0))
    return units.change(ratio - 1) if ratio < 10 else f"x {ratio:.3g}"
