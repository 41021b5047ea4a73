"""Every case there is, in the order it is measured."""

from __future__ import annotations

from bnsuite.cases import op, train
from bnsuite.cases.case import Case

CATALOGUE: tuple[Case, ...] = (*op.CASES, *train.CASES)

by_id: dict[str, Case] = {case.id: case for case in CATALOGUE}


def profile(name: str) -> list[Case]:
    """The cases of the profile `name`."""
    return [case for case in CATALOGUE if name in case.profiles]
