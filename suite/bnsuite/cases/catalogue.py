"""Every case there is, in the order it is measured."""

from __future__ import annotations

from bnsuite.cases import checks, implementation, op, train
from bnsuite.cases.case import Case
from bnsuite.cases.op import RatioCase

CATALOGUE: tuple[Case, ...] = (*checks.CASES, *op.CASES, *op.RATIOS, *train.CASES)

by_id: dict[str, Case] = {case.id: case for case in CATALOGUE}


def profile(name: str) -> list[Case]:
    """The cases of the profile `name`; under a user's implementation, those that it has a part in."""
    chosen = [case for case in CATALOGUE if name in case.profiles]
    if implementation.named() is not None:
        return [case for case in chosen if case.pluggable]
    return [case for case in chosen if not (isinstance(case, RatioCase) and case.of_implementation)]
