"""The report of a run: heading, table, reasons and last line, for a terminal and for Markdown."""

from __future__ import annotations

from bnsuite.judge.timing import share_of_limit
from bnsuite.judge.verdict import ExitStatus, Finding, worst
from bnsuite.record.schema import CaseResult, Run
from bnsuite.report import cells, gpu, tabular, text, units
from bnsuite.report.summary import last_line, reasons
from bnsuite.report.tabular import NOTHING

HEADERS = ("case", "median", "spread", "% of copy", "against baseline", "memory", "verdict")
ALIGN = ("left", "right", "right", "right", "left", "right", "left")


def terminal(run: Run, findings: list[Finding], status: ExitStatus) -> str:
    """Returns the report as plain text; no text of a measured process makes a line of its own."""
    explained = [f"  {one}" for one in reasons(findings)]
    watched = gpu.line(run)
    parts = [
        text.one_line(heading(run)),
        "",
        tabular.terminal(_rows(run, findings), HEADERS, ALIGN),
        *(["", *explained] if explained else []),
        *(["", text.one_line(watched)] if watched else []),
    ]
    return "\n".join([*parts, "", last_line(run, findings, status)])


def markdown(run: Run, findings: list[Finding], status: ExitStatus) -> str:
    """Returns the same as Markdown; no text of a measured process is markup."""
    explained = [f"- {text.markdown(one)}" for one in reasons(findings)]
    watched, energy = gpu.line(run), gpu.energy(run)
    parts = [
        "# bnsuite",
        text.markdown(heading(run)),
        tabular.markdown(_rows(run, findings), HEADERS, ALIGN),
        *(["\n".join(explained)] if explained else []),
        *([text.markdown(watched)] if watched else []),
        *([energy] if energy else []),
        f"**{text.markdown(last_line(run, findings, status))}**",
    ]
    return "\n\n".join(parts) + "\n"


def heading(run: Run) -> str:
    """Returns what was measured, and on what machine."""
    environment = run.environment
    where = environment.gpu.name if environment.gpu else f"{environment.cpu}, {environment.cores_given} cores given"
    implementation = run.options.implementation
    replaced = f"{implementation} in the place of torch's batch norm · " if implementation else ""
    cuda = f", CUDA {environment.cuda}, cuDNN {environment.cudnn}" if environment.gpu else ""
    torch, python = (text.clipped(one) for one in (environment.packages.get("torch", "?"), environment.python))
    line = (
        f"bnsuite {run.bnsuite} · {run.options.profile} · {run.device} · {text.clipped(replaced)}torch {torch}{cuda} · "
        f"Python {python} · {units.count(environment.threads, 'thread')} · {text.clipped(where)}"
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
    return NOTHING if share is None else f"{100 * share:.0f} %"
