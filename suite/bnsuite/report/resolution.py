"""What could be resolved of each workload in a comparison, in words."""

from __future__ import annotations

from bnsuite.judge.resolution import Resolution, resolutions
from bnsuite.report import units
from bnsuite.report.judged import ComparisonReport, Report


def lines(report: Report) -> list[str]:
    """Returns a sentence per timed workload of a comparison; none for a run."""
    if not isinstance(report, ComparisonReport):
        return []
    return [sentence(one) for one in resolutions(report.a, report.b, report.times)]


def sentence(one: Resolution) -> str:
    """Returns what could be resolved of a workload, such as "a change of 2 % takes about 8 min 10 s here"."""
    spread = f"which deviate by {100 * one.deviation:.1f} %"
    if one.change is None or one.launches is None:
        shown = f"no change is resolved here in {one.most_launches} launches, {spread}"
    elif one.needs_s is None:
        shown = f"a change of {100 * one.change:g} % takes {one.launches} launches here, {spread}"
    else:
        time = units.duration(one.needs_s)
        shown = f"a change of {100 * one.change:g} % takes about {time} here ({one.launches} launches, {spread})"
    equal = {True: "; deterministic", False: "; not deterministic", None: ""}[one.deterministic]
    return f"{one.case}: {shown}{equal}"
