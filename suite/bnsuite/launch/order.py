"""The order of cases in a run that may be cut off: the most telling first.

1. Cases of the quick profile before all others: it was chosen to stand for the rest.
2. Layers, then ratios, workloads and trainings: a layer is quick, and a training contains layers.
3. Steps of several ranks after all others: the processes of a group are about while they are timed.
4. Families in rotation, so that any beginning has seen every part of the suite. The rotation begins with the families
   that found true defects in releases of torch (those with pinned deviations).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

from bnsuite.record.schema import PlannedCase

#: Kinds of cases in their order.
KINDS = ("check", "layer", "ratio", "workload", "training")
#: Families of checks with three pinned deviations or more, which torch's releases really have (baselines/pins.json).
DEFECTIVE = ("strides", "offsets", "export", "degenerate", "frozen")


def telling(cases: Iterable[PlannedCase]) -> list[PlannedCase]:
    """Returns `cases`, the most telling first; those alike stay in the order of the catalogue."""
    groups: dict[tuple[bool, bool, int], dict[str, list[PlannedCase]]] = {}
    for case in cases:
        place = case.ranks > 1, "quick" not in case.profiles, KINDS.index(case.kind)
        groups.setdefault(place, {}).setdefault(family(case), []).append(case)
    return [case for _, families in sorted(groups.items()) for case in _rotated(families)]


def family(case: PlannedCase) -> str:
    """Returns what a case belongs to: its family of checks, its layer, its comparison, or its workload."""
    names = {"check": "family", "layer": "layer", "ratio": "comparison", "training": "workload"}
    return case.labels.get(names.get(case.kind, ""), case.family)


def _rotated(families: dict[str, list[PlannedCase]]) -> list[PlannedCase]:
    known = {name: place for place, name in enumerate(DEFECTIVE)}
    ordered = sorted(families, key=lambda name: known.get(name, len(known)))
    return [case for turn in zip_longest(*(families[name] for name in ordered)) for case in turn if case is not None]
