"""The report of two environments: their differences, a row per case, reasons and last line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bnsuite.judge.verdict import ExitStatus, Finding, worst
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.schema import EnvironmentInfo, Run
from bnsuite.report import cells, tabular, text
from bnsuite.report.summary import last_line, reasons
from bnsuite.report.tabular import NOTHING

HEADERS = ("case", "A", "B", "B against A", "launches", "memory of B", "verdict")
ALIGN = ("left", "right", "right", "left", "right", "right", "left")


def terminal(a: Run, b: Run, times: InterleavedTimes, findings: list[Finding], status: ExitStatus) -> str:
    """Returns the report as plain text; no text of a measured process makes a line of its own."""
    explained = [f"  {one}" for one in reasons(findings)]
    parts = [
        *map(text.one_line, _heading(a, b, times)),
        "",
        tabular.terminal(_rows(a, b, findings), HEADERS, ALIGN),
        *(["", *explained] if explained else []),
        "",
        last_line(b, findings, status),
    ]
    return "\n".join(parts)


def markdown(a: Run, b: Run, times: InterleavedTimes, findings: list[Finding], status: ExitStatus) -> str:
    """Returns the same as Markdown; no text of a measured process is markup."""
    explained = [f"- {text.markdown(one)}" for one in reasons(findings)]
    parts = [
        "# bnsuite ab",
        "\n".join(f"- {text.markdown(line)}" for line in _heading(a, b, times)),
        tabular.markdown(_rows(a, b, findings), HEADERS, ALIGN),
        *(["\n".join(explained)] if explained else []),
        f"**{text.markdown(last_line(b, findings, status))}**",
    ]
    return "\n\n".join(parts) + "\n"


def _heading(a: Run, b: Run, times: InterleavedTimes) -> Iterator[str]:
    options = b.options
    implementation = options.implementation
    replaced = f", with {implementation} in the place of torch's batch norm" if implementation else ""
    yield f"bnsuite {b.bnsuite} · ab · {options.profile} · {b.device} · {text.clipped(b.environment.cpu)}"
    yield f"A, trusted: {text.clipped(times.a)}"
    injected = "".join(f", with {name} = {amount:g} injected" for name, amount in times.injected.items())
    yield f"B, judged: {text.clipped(times.b)}{text.clipped(replaced)}{injected}"
    apart = list(differences(a.environment, b.environment))
    yield f"differs: {text.listed(apart, 40, between='; ') if apart else 'nothing that bnsuite knows of'}"


def differences(a: EnvironmentInfo, b: EnvironmentInfo) -> Iterator[str]:
    """Yields what is not the same in two environments, such as "torch 2.13.0 → 2.14.1"."""
    yield from _apart(a.model_dump(), b.model_dump())


def _apart(of_a: dict[str, Any], of_b: dict[str, Any]) -> Iterator[str]:
    for name in [*of_a, *sorted(of_b.keys() - of_a.keys())]:
        old, new = of_a.get(name), of_b.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _apart(old, new)
        elif old != new:
            yield f"{name} {_value(old)} → {_value(new)}"


def _value(value: object) -> str:
    return "none" if value is None else str(value)


def _rows(a: Run, b: Run, findings: list[Finding]) -> list[list[str]]:
    of_a, of_b = ({result.id: result for result in run.cases} for run in (a, b))
    return [
        [
            name,
            cells.time(of_a.get(name))[0],
            cells.time(of_b.get(name))[0],
            cells.against_environment(some),
            _launches(some),
            cells.memory(of_b.get(name)),
            worst(some).value,
        ]
        for name, some in cells.rows(b, findings).items()
    ]


def _launches(findings: list[Finding]) -> str:
    timing = next((one for one in findings if one.gate == "timing"), None)
    screening = timing.evidence.get("launches") if timing else None
    confirming = timing.evidence.get("launches_to_confirm") if timing else None
    return NOTHING if screening is None else f"{screening}" + (f" + {confirming}" if confirming else "")
