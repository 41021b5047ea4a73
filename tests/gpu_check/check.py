"""The steps in their order, within one limit for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

from gpu_check.process import GRACE_S, run
from gpu_check.results import Results
from gpu_check.step import (
    CUT_OFF,
    FAILED,
    RUNNING,
    SKIPPED,
    NothingToDoError,
    Outcome,
    Request,
    Step,
)

#: Seconds for the archive at the end, and the fewest in which a step can do anything.
RESERVE_S, LEAST_S = 10.0, 5.0
TOLD = "told to end"


def check(
    request: Request,
    steps: Sequence[Step],
    *,
    root: Path,
    show: Callable[[str], None] = print,
    stopped: Callable[[], bool] = lambda: False,
) -> Results:
    """Does all steps, in the folder `root`, for as long as there is time; whatever happens, the results are written."""
    began = monotonic()
    request.folder.mkdir(parents=True, exist_ok=True)
    results = Results(request, [Outcome(step.name, step.title) for step in steps])
    results.write()
    reserve_s = min(RESERVE_S, request.seconds / 10)
    hopeless: str | None = None
    for at, step in enumerate(steps):
        outcome = results.outcomes[at]
        left_s = request.seconds - reserve_s - (monotonic() - began)
        limit_s = min(left_s, step.share if step.fixed else left_s * step.share / sum(one.share for one in steps[at:]))
        if stopped():
            results.ended_by = results.ended_by or TOLD
        if reason := hopeless or results.ended_by or ("no time was left" if limit_s < LEAST_S else None):
            outcome.state, outcome.reason = SKIPPED, reason
            continue
        show(f"== {step.title}: up to {limit_s:.0f} s")
        _do(request, step, outcome, limit_s, results, root=root, show=show, stopped=stopped)
        results.write()
        told = f" ({outcome.reason})" if outcome.reason else ""
        show(f"== {step.title}: {outcome.state}{told}, {outcome.seconds or 0:.0f} s")
        if step.fixed and outcome.state == FAILED:
            hopeless = f"{step.title} failed"
    if stopped():
        results.ended_by = results.ended_by or TOLD
    results.write()
    return results


def _do(
    request: Request,
    step: Step,
    outcome: Outcome,
    limit_s: float,
    results: Results,
    *,
    root: Path,
    show: Callable[[str], None],
    stopped: Callable[[], bool],
) -> None:
    """Does one step, and notes what became of it."""
    began = monotonic()
    grace_s = min(GRACE_S, limit_s / 6)
    try:
        outcome.command = step.command(request, limit_s - grace_s)
        outcome.state, outcome.limit_s, outcome.log = RUNNING, round(limit_s, 1), f"{step.name}.log"
        results.write()
        log = request.folder / outcome.log
        ended = run(outcome.command, log, limit_s - grace_s, folder=root, show=show, stopped=stopped, grace_s=grace_s)
    except NothingToDoError as error:
        outcome.state, outcome.reason = SKIPPED, str(error)
        return
    except Exception as error:  # noqa: BLE001  # one step that breaks must not take the others with it
        outcome.state, outcome.reason = FAILED, f"{type(error).__name__}: {error}"
        return
    finally:
        outcome.seconds = round(monotonic() - began, 1)
    outcome.status, outcome.last_line = ended.status, ended.last_line.strip("= ")[:300]
    outcome.state, outcome.reason = step.states.get(ended.status, FAILED), step.words.get(ended.status)
    if ended.cut_off:
        outcome.state, outcome.reason = CUT_OFF, TOLD if stopped() else "ended at its limit"
    elif outcome.reason is None and ended.status:
        outcome.reason = f"exit status {ended.status}"
