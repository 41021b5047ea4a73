"""Real defects of batch norm and its kin, from public trackers: what the checks are there to catch.

``defects.csv`` has a row each. Evidence is "C" (a fixing change or a maintainer's confirmation), "R" (reported, with
a reproduction or a measurement) or "D" (by design, or a known limit).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("defects.csv")


@dataclass(frozen=True)
class Defect:
    """One row."""

    id: str
    #: Where it is told, such as "pytorch/pytorch#63224".
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
