"""The page of the families of cases, made from the catalogue; it needs no torch."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from types import ModuleType
from typing import Any

from bnsuite.cases import Case, all_cases
from bnsuite.cases.checks import behaviour, numerics
from pages.markdown import code, paragraph, table

HEAD = """# Families of cases

This page is made from the catalogue by `make reference`. [Case ids](cases.md) describes how ids are built and selected.
The full profile has every case, the quick profile those of the column "quick". Cases of the column "GPU only" are left
out on a CPU.
"""

CHECKS = """## Checks

A check is run once and is not timed. Its rule must hold on every machine. [Known defects](../defects.md) lists the
public reports that each family covers.
"""

RATIOS = """## Ratios

A ratio times two variants alternately in one process. It passes if the time of the first is shown to be at most the
bound times the time of the second. The bounds of GPUs are guesses, but for that of an implementation: there
`bnsuite calibrate` measures them ([The first hour on a new GPU](../how-to/new-gpu.md)).
"""

LAYERS = """## Layers

A layer is timed, and its memory is measured, in one phase on one activation.
"""

DISTRIBUTED = """## Steps of several ranks

Several processes, ranks, run one step together, each on a core or a GPU of its own and with the work of one;
[Several GPUs](../how-to/several-gpus.md) says how it is timed. More ranks than there are cores, or GPUs, are left out.
"""

TRAININGS = """## Trainings

A training has curves, which the convergence gate compares, and is timed by the epoch unless it repeats the computation
of another one. [The articles' experiments](../articles.md) describes the workloads.
"""


def page() -> str:
    """Returns the text of the page."""
    cases = all_cases()
    by_kind = {
        kind: [one for one in cases if one.kind == kind] for kind in ("check", "ratio", "layer", "training", "workload")
    }
    return "\n".join(
        [
            HEAD,
            table(("kind", *COUNTED), [(kind, *_counts(found)) for kind, found in by_kind.items()]),
            "",
            CHECKS,
            _checks(by_kind["check"]),
            RATIOS,
            _ratios(by_kind["ratio"]),
            "",
            LAYERS,
            _grouped(by_kind["layer"], ("layer",)),
            "",
            TRAININGS,
            _grouped(by_kind["training"], ("workload",)),
            "",
            DISTRIBUTED,
            _grouped(by_kind["workload"], ("program",)),
            "",
        ]
    )


COUNTED = ("cases", "quick", "GPU only")


def _counts(cases: Sequence[Case]) -> tuple[str, ...]:
    return str(len(cases)), str(sum(one.quick for one in cases)), str(sum(one.gpu_only for one in cases))


def _modules() -> dict[str, ModuleType]:
    """Returns the module of each family of checks."""
    found = {}
    for module in (*numerics.FAMILIES, *behaviour.FAMILIES):
        first = next(iter(module.cases()))
        found[f"{first.family}/{first.group}"] = module
    return found


def summary(module: ModuleType) -> str:
    """Returns what a family verifies: its module's docstring without the name of the family."""
    text = paragraph((inspect.getdoc(module) or "").split("\n\n", 1)[0]).partition(": ")[2]
    first = text.split(maxsplit=1)[0]
    return f"{text[:1].upper()}{text[1:]}" if first.strip(",.").isalpha() else text


def _checks(cases: Sequence[Case]) -> str:
    modules = _modules()
    by_family: dict[str, list[Any]] = {}
    for one in cases:
        by_family.setdefault(f"{one.labels['gate']}/{one.labels['family']}", []).append(one)
    rows = [
        (f"[`{name}`](#{name.replace('/', '')})", summary(modules[name]).rstrip("."), *_counts(found))
        for name, found in by_family.items()
    ]
    sections = []
    for name, found in by_family.items():
        rules = Counter(_sentence(one.rule) for one in found)
        listed = "\n".join(f"- {rule} ({count})" for rule, count in rules.items())
        sections.append(f"### `{name}`\n\n{summary(modules[name])}\nSuch as {code(found[0].id)}.\n\n{listed}\n")
    return "\n".join([table(("family", "verifies", *COUNTED), rows), "", *sections])


def _sentence(rule: str) -> str:
    return rule.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")


def _ratios(cases: Sequence[Any]) -> str:
    rows = []
    for comparison, group in groupby(sorted(cases, key=lambda one: one.comparison), key=lambda one: one.comparison):
        found = list(group)
        for rule in dict.fromkeys(one.rule for one in found):
            mine = [one for one in found if one.rule == rule]
            rows.append(
                (code(comparison), _sentence(rule), _bounds(mine, "cpu"), _bounds(mine, "cuda"), *_counts(mine))
            )
    return table(("comparison", "rule", "bound on a CPU", "on a GPU", *COUNTED), rows)


def _bounds(cases: Iterable[Any], device: str) -> str:
    return ", ".join(f"{bound:g}" for bound in sorted({one.bounds[device] for one in cases if device in one.bounds}))


def _grouped(cases: Sequence[Case], names: tuple[str, ...]) -> str:
    """Returns a row per value of the label `names`, with the values of the other labels."""
    (name,) = names
    rows = []
    for value in dict.fromkeys(one.labels[name] for one in cases):
        mine = [one for one in cases if one.labels[name] == value]
        others = dict.fromkeys(label for one in mine for label in one.labels if label != name)
        axes = "; ".join(
            f"{label}: {', '.join(values)}"
            for label in others
            if (values := _values(mine, label)) and values != ["eager"]
        )
        rows.append((code(value), axes, code(mine[0].id), *_counts(mine)))
    return table((name, "axes", "such as", *COUNTED), rows)


def _values(cases: Iterable[Case], label: str) -> list[str]:
    """Returns the values of a label, in the order of the catalogue."""
    return list(dict.fromkeys(filter(None, (one.labels.get(label, "") for one in cases))))
