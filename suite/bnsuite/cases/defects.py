"""Real defects of batch norm and other normalization layers, from public trackers, for the checks to catch.

``defects.csv`` has a row each. Evidence is "C" (a fixing change or a maintainer's confirmation), "R" (reported, with
a reproduction or a measurement) or "D" (by design, or a known limit).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("defects.csv")


@dataclass(frozen=True)
class Defect:
    """One row."""

    id: str
    #: The public report, such as "pytorch/pytorch#63224".
    thread: str
    title: str
    kind: str
    device: str
    evidence: str
    families: tuple[str, ...]


def _read() -> tuple[Defect, ...]:
    with FILE.open(encoding="utf-8", newline="") as file:
        return tuple(
            Defect(
                id=row["id"],
                thread=row["thread"],
                title=row["title"],
                kind=row["class"],
                device=row["device"],
                evidence=row["evidence"],
                families=tuple(row["families"].split(", ")),
            )
            for row in csv.DictReader(file)
        )


DEFECTS = _read()
by_id = {one.id: one for one in DEFECTS}


def threads(rows: Iterable[str]) -> list[str]:
    """Returns the public reports of the defects with these ids."""
    return [by_id[row].thread for row in rows]
