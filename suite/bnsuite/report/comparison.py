"""Two environments side by side: what differs between them, a row a case, the reasons and the summary."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from tabulate import tabulate

from bnsuite.judge.verdict import ExitStatus, Finding, Verdict, worst
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.schema import CHECK_GATES, CaseResult, EnvironmentInfo, Run
from bnsuite.report import units
from bnsuite.report.table import NOTHING, by_row, checked, learnt, memory, reasons, summary

HEADERS = ("case", "A", "B", "B against A", "launches", "memory of B", "verdict")
ALIGN = ("left", "right", "right", "left", "right", "right", "left")
#: Of what else is said of a training's curves no number stands in the table.
SETTLED = {Verdict.PASS, Verdict.REGRESSED, Verdict.IMPROVED}


def terminal(a: Run, b: Run, times: InterleavedTimes, findings: list[Finding], status: ExitStatus) -> str:
    """All of it as plain text."""
    return "\n".join(
        [
            *_heading(a, b, times),
            "",
            _table(a, b, findings, "simple"),
            *reasons(findings),
            "",
            summary(b, findings, status),
        ]
    )


def markdown(a: Run, b: Run, times: InterleavedTimes, findings: list[Finding], status: ExitStatus) -> str:
    """The same as Markdown."""
    told = [f"- {line.strip()}" if line else line for line in reasons(findings)]
    heading = [f"- {line}" for line in _heading(a, b, times)]
    table = _table(a, b, findings, "github")
    return "\n".join(["# bnsuite ab", "", *heading, "", table, *told, "", f"**{summary(b, findings, status)}**", ""])


def _heading(a: Run, b: Run, times: InterleavedTimes) -> Iterator[str]:
    asked = b.options
    judged = f", with {asked.implementation} in the place of torch's batch norm" if asked.implementation else ""
    yield f"bnsuite {b.bnsuite} · ab · {asked.profile} · {b.device} · {b.environment.cpu}"
    yield f"A, trusted: {times.a}"
    planted = "".join(f", with {name} = {amount:g} planted into it" for name, amount in times.injected.items())
    yield f"B, judged:  {times.b}{judged}{planted}"
    apart = list(differences(a.environment, b.environment))
    yield f"differs: {'; '.join(apart) if apart else 'nothing that bnsuite sees'}"


def differences(a: EnvironmentInfo, b: EnvironmentInfo) -> Iterator[str]:
    """What is not the same in two environments, such as "torch 2.13.0 → 2.14.1"."""
    mine, theirs = a.model_dump(), b.model_dump()
    for name in mine:
        old, new = mine[name], theirs[name]
        if isinstance(old, dict) and isinstance(new, dict):
            for part in sorted(old.keys() | new.keys()):
                if old.get(part) != new.get(part):
                    yield f"{part} {_said(old.get(part))} → {_said(new.get(part))}"
        elif old != new:
            yield f"{name} {_said(old)} → {_said(new)}"


def _said(value: object) -> str:
    return "none" if value is None else str(value)


def _table(a: Run, b: Run, findings: list[Finding], style: str) -> str:
    ours, theirs = ({result.id: result for result in run.cases} for run in (a, b))
    return tabulate(
        [_row(name, ours.get(name), theirs.get(name), some) for name, some in by_row(findings).items()],
        headers=HEADERS,
        tablefmt=style,
        colalign=ALIGN,
        disable_numparse=True,
    )


def _row(name: str, a: CaseResult | None, b: CaseResult | None, findings: list[Finding]) -> list[str]:
    timing = next((one for one in findings if one.gate == "timing"), None)
    counted = timing.evidence.get("launches") if timing else None
    again = timing.evidence.get("launches_to_confirm") if timing else None
    launches = NOTHING if counted is None else f"{counted}" + (f" + {again}" if again else "")
    return [name, _time(a), _time(b), _against(findings), launches, memory(b), worst(findings).value]


def _time(result: CaseResult | None) -> str:
    timings = (result.undisturbed or result.timings) if result else ()
    return units.seconds(median(median(one.samples_s) for one in timings)) if timings else NOTHING


def _against(findings: list[Finding]) -> str:
    if findings[0].gate in CHECK_GATES:
        return checked(findings)
    parts = []
    for finding in findings:
        if finding.gate == "timing" and finding.change is not None:
            assert finding.low is not None
            assert finding.high is not None
            bounds = f"{units.change(finding.low)} to {units.change(finding.high)}"
            parts.append(f"{units.change(finding.change)} ({bounds})")
        elif finding.gate == "memory" and finding.change:
            parts.append(f"memory {units.change(finding.change)}")
        elif finding.gate == "convergence" and finding.verdict in SETTLED:
            parts.append(learnt(finding))
    return ", ".join(part for part in parts if part) or NOTHING
