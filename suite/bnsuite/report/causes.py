"""What is known to differ from the reference, in one sentence: no single cause can be named where several layers do."""

from __future__ import annotations

import re

from bnsuite.judge.layers import BATCH_NORM, CHANGED, FAULT, TORCH
from bnsuite.judge.verdict import LayerChange
from bnsuite.report import commands, repeat, text
from bnsuite.report.judged import ComparisonReport, Report

#: Layers that are named with both values; of more the names alone.
_MAX_VALUES = 2
#: Layers that the command itself chose: where nothing else differs there is nothing to add.
_CHOSEN = frozenset({BATCH_NORM, FAULT})


def sentence(report: Report) -> str | None:
    """Returns the sentence for a report in which something got worse or better; None where nothing is known."""
    apart = report.judgement.layers
    if {one.layer for one in apart} <= _CHOSEN or not any(one.verdict in CHANGED for one in report.judgement.findings):
        return None
    of_sides = isinstance(report, ComparisonReport)
    if len(apart) == 1:
        where = "between A and B" if of_sides else "from the baseline"
        return f"{_named(apart[0])} is the only known difference {where}; that alone does not prove it to be the cause"
    values = len(apart) <= _MAX_VALUES
    names = [_named(one) if values else text.clipped(one.layer) for one in apart]
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    differ = f"{listed} differ between A and B" if of_sides else f"{listed} differ from the baseline's"
    return f"{differ}: no single cause can be named; {_fix(report)}"


def _named(one: LayerChange) -> str:
    return f"{text.clipped(one.layer)} ({text.clipped(one.before, 80)} → {text.clipped(one.now, 80)})"


def _fix(report: Report) -> str:
    """Returns the comparison that separates the layers: of torch alone, where that differs."""
    torch = next((one for one in report.judgement.layers if one.layer == TORCH), None)
    releases = [_release(one) for one in (torch.before, torch.now)] if torch is not None else [None]
    cases = list(dict.fromkeys(one.case for one in report.judgement.findings if one.verdict in CHANGED))
    run = report.judged
    a, b = releases[0], releases[-1]
    if a is not None and b is not None and a != b:
        select = commands.selection(cases, run.options.select)
        command = repeat.compare(f"torch=={a}", f"torch=={b}", repeat.settings(run), cases, select)
        if command is not None:
            return f"`{command}` changes torch alone"
    return "`bnsuite ab A B` of two environments that differ in one of them separates them"


def _release(version: str) -> str | None:
    """Returns the release that a package index has, such as "2.13.0" for "2.13.0+cpu"; None for any other build."""
    found = re.fullmatch(r"(\d+\.\d+\.\d+)(\+\w+)?", version)
    return found[1] if found else None
