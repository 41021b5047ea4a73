"""The plan of a run in words: before it begins, and afterwards beside the time that it took."""

from __future__ import annotations

from collections.abc import Iterator

from bnsuite.record.planned import CONFIRMING, STAGES, Estimate
from bnsuite.record.schema import Run
from bnsuite.report import units

#: The plan rests on this share of recorded times before it says so.
WELL_KNOWN = 0.5


def before(estimate: Estimate, budget_s: float | None = None) -> str:
    """Returns how long a run will take, stage by stage, and what that is known from."""
    parts = "; ".join(
        f"{_measurements(name, estimate)}, {units.duration(stage.seconds)}" for name, stage in estimate.stages.items()
    )
    source = "by earlier times on this machine" if estimate.known >= WELL_KNOWN else "a rough guess until a run is kept"
    line = f"about {units.duration(estimate.seconds)} by plan ({source}): {parts}"
    if budget_s is None:
        return line
    if estimate.seconds <= budget_s:
        return f"{line}; --budget gives {units.duration(budget_s)}"
    return f"{line}; --budget gives {units.duration(budget_s)}, so the most telling cases come first"


def _measurements(name: str, estimate: Estimate) -> str:
    count = estimate.stages[name].measurements
    if name == "checks":
        return units.count(count, "check")
    if name == "kernels":
        return f"kernels of {units.count(count, 'case')}"
    if name == "timing":
        return f"{units.count(count, 'timed case')} in {units.count(estimate.launches, 'launch', 'launches')}"
    return f"{units.count(count, 'seed')} of trainings"


def after(run: Run) -> str | None:
    """Returns the planned time beside the one it took, in all and by stage; None for a run without a plan."""
    if not run.planned or not run.took:
        return None
    planned, took = sum(run.planned.values()), sum(run.took.values())
    return f"planned {units.duration(planned)}, took {units.duration(took)} ({', '.join(_stages(run))})"


def _stages(run: Run) -> Iterator[str]:
    for name in (*STAGES, CONFIRMING):
        if name in run.planned:
            took = units.duration(run.took.get(name, 0.0))
            yield f"{name} {units.duration(run.planned[name])} and {took}"
        elif name in run.took:
            yield f"{name} {units.duration(run.took[name])} besides"
