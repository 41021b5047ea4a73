"""A run in a heading and a table."""

from __future__ import annotations

from bnsuite.judge.host_time import launch_bound
from bnsuite.judge.timing import share_of_limit
from bnsuite.judge.verdict import Finding, worst
from bnsuite.record.schema import CaseResult, Run
from bnsuite.report import cells, tabular, text, units
from bnsuite.report.replaced import replaced
from bnsuite.report.screen import Screen
from bnsuite.report.tabular import NOTHING

HEADERS = ("case", "median", "spread", "% of copy", "against baseline", "memory", "verdict")
ALIGN = ("left", "right", "right", "right", "left", "right", "left")
#: Columns that a narrow screen does without, the first one first.
OPTIONAL = ("spread", "% of copy", "memory")


def rows(run: Run, findings: list[Finding], screen: Screen) -> str:
    """Returns a row per case (of checks a row per family), on a narrow screen with fewer columns."""
    return tabular.terminal(_rows(run, findings), HEADERS, ALIGN, screen=screen, optional=OPTIONAL)


def markdown(run: Run, findings: list[Finding]) -> str:
    """Returns the same as Markdown."""
    return tabular.markdown(_rows(run, findings), HEADERS, ALIGN)


def heading(run: Run) -> str:
    """Returns what was measured, and on what machine."""
    environment = run.environment
    where = (
        environment.gpu.name
        if environment.gpu
        else f"{environment.cpu}, {units.count(environment.cores_given, 'core')} given"
    )
    named = replaced(run.options)
    stands = f"{text.clipped(named)} · " if named else ""
    cuda = f", CUDA {environment.cuda}, cuDNN {environment.cudnn}" if environment.gpu else ""
    torch, python = (text.clipped(one) for one in (environment.packages.get("torch", "?"), environment.python))
    config = f" · options of {text.clipped(run.options.config)}" if run.options.config else ""
    line = (
        f"bnsuite {run.bnsuite} · {run.options.profile} · {run.device} · {stands}torch {torch}{cuda} · "
        f"Python {python} · {units.count(environment.threads, 'thread')} · {text.clipped(where)}{config}"
    )
    return text.clipped(line, text.MAX_REASON)


def _rows(run: Run, findings: list[Finding]) -> list[list[str]]:
    results = {result.id: result for result in run.cases}
    return [
        [
            name,
            *cells.time(results.get(name)),
            _share_of_copy(results.get(name)),
            cells.against_baseline(some),
            cells.memory(results.get(name)),
            worst(some).value,
        ]
        for name, some in cells.rows(run, findings).items()
    ]


def _share_of_copy(result: CaseResult | None) -> str:
    """Returns the share of a copy's bandwidth, where a case declares what it must move."""
    share = share_of_limit(result) if result else None
    if share is None:
        return cells.LAUNCH_BOUND if result and launch_bound(result) else NOTHING
    return f"{100 * share:.0f} %"
