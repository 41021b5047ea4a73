"""The totals of a report: one line per kind of case, with what each gate found of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import median

from bnsuite.judge.gates import GATES
from bnsuite.judge.reason import ReasonCode
from bnsuite.judge.verdict import DECIDED_WELL, WORST_FIRST, Finding, Verdict
from bnsuite.record.schema import Run
from bnsuite.report import cells, planning, units

#: Kinds of timed cases, and what they are called.
_KINDS = {"layer": "layers", "ratio": "ratios", "workload": "workloads", "training": "trainings"}


def lines(run: Run, findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """Returns a line per gate of checks and per kind of timed case: its name, and what was found; then the time."""
    kinds = {result.id: result.case.kind for result in run.cases}
    checks: dict[str, list[Finding]] = {name: [] for name, gate in GATES.items() if gate.counted}
    timed: dict[str, list[Finding]] = {kind: [] for kind in _KINDS}
    for one in findings:
        group = checks.get(one.gate) if cells.is_counted(one) else timed.get(kinds.get(one.case, ""))
        if group is not None:
            group.append(one)
    return [
        *((gate, _checks(some)) for gate, some in checks.items() if some),
        *((_KINDS[kind], _kind(kind, some)) for kind, some in timed.items() if some),
        *(("time", line) for line in [planning.after(run)] if line),
    ]


def _checks(findings: Sequence[Finding]) -> str:
    passed = _passed(findings)
    pinned = sum(bool(one.evidence.get("pinned")) for one in passed)
    known = f", {pinned} with a known deviation (pinned)" if pinned else ""
    return f"{_of(len(passed), len(findings), 'check')} passed{known}{_others(findings)}"


def _kind(kind: str, findings: Sequence[Finding]) -> str:
    by_gate = {gate: [one for one in findings if one.gate == gate] for gate in GATES}
    words = {**_GATES, **({"timing": _ratios} if kind == "ratio" else {})}
    parts = [words[gate](some) for gate, some in by_gate.items() if some and gate in words]
    return "; ".join(parts)


def _times(findings: Sequence[Finding]) -> str:
    changes = [one.change for one in findings if one.change is not None and one.verdict is not Verdict.INVALID]
    moved = f", median change {units.change(median(changes))}" if len(changes) > 1 else ""
    passed = _passed(findings)
    if not _settled(findings):
        return f"{len(findings)} timed{_others(findings)}"
    return f"times of {_of(len(passed), len(findings))} within the margin{moved}{_others(findings)}"


def _ratios(findings: Sequence[Finding]) -> str:
    figures = [one for one in findings if one.reason.code is ReasonCode.RATIO_WITHOUT_BOUND]
    limited = [one for one in findings if one not in figures]
    parts = []
    if limited and not _settled(limited):
        parts.append(f"{len(limited)} timed{_others(limited)}")
    elif limited:
        parts.append(f"{_of(len(_passed(limited)), len(limited))} within their limits{_others(limited)}")
    if figures:
        parts.append(f"{len(figures)} measured, without a limit")
    return "; ".join(parts)


def _memory(findings: Sequence[Finding]) -> str:
    passed = _passed(findings)
    if not _settled(findings):
        return f"memory of {len(findings)}{_others(findings)}"
    if len(passed) == len(findings) and all(not one.change for one in passed):
        return "memory exact"
    return f"memory of {_of(len(passed), len(findings))} within the margin{_others(findings)}"


def _kernels(findings: Sequence[Finding]) -> str:
    same = [one for one in findings if one.reason.code is ReasonCode.KERNELS_SAME]
    if len(same) == len(findings):
        return "kernels unchanged"
    changed = [one for one in findings if one.reason.code is ReasonCode.KERNELS_CHANGED]
    if not same and not changed:
        return f"kernels of {len(findings)}{_others(findings)}"
    return f"kernels of {_of(len(same), len(findings))} unchanged{_others(findings)}"


def _curves(findings: Sequence[Finding]) -> str:
    same = [one for one in findings if one.reason.code is ReasonCode.CURVES_EQUAL]
    if len(same) == len(findings):
        return "curves identical"
    within = len(_passed(findings)) - len(same)
    if not _settled(findings):
        return f"curves of {len(findings)}{_others(findings)}"
    parts = [f"identical in {len(same)}"] if same else []
    parts += [f"within the margins in {within}"] if within else []
    return f"curves {' and '.join(parts) or 'unlike the reference'} of {len(findings)}{_others(findings)}"


def _cpu_times(findings: Sequence[Finding]) -> str:
    passed = _passed(findings)
    return f"CPU times of {_of(len(passed), len(findings))} within the margin{_others(findings)}"


#: By gate: the words for all findings of it.
_GATES: dict[str, Callable[[Sequence[Finding]], str]] = {
    "timing": _times,
    "cpu-time": _cpu_times,
    "memory": _memory,
    "kernels": _kernels,
    "convergence": _curves,
}


def _settled(findings: Iterable[Finding]) -> bool:
    """Returns if a gate decided anything, well or not."""
    return any(one.verdict in {*DECIDED_WELL, Verdict.REGRESSED} for one in findings)


def _passed(findings: Iterable[Finding]) -> list[Finding]:
    return [one for one in findings if one.verdict in DECIDED_WELL]


def _of(some: int, every: int, name: str = "") -> str:
    """Returns "208 checks" where it is all of them, else "201 of 208 checks"."""
    noun = f" {name}{'' if every == 1 else 's'}" if name else ""
    return f"all {every}{noun}" if some == every else f"{some} of {every}{noun}"


def _others(findings: Iterable[Finding]) -> str:
    """Returns the verdicts that are neither PASS nor IMPROVED, such as " (3 NO_BASELINE)"."""
    counts = Counter(one.verdict for one in findings if one.verdict not in DECIDED_WELL)
    listed = ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in WORST_FIRST if counts[verdict])
    return f" ({listed})" if listed else ""
