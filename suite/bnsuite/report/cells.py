"""The cells of a table: the changes that the gates found, the time and the memory of a case."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median, quantiles

from bnsuite.judge.gates import GATES
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.schema import CaseResult, Run
from bnsuite.report import units
from bnsuite.report.tabular import NOTHING

#: Verdicts whose change is shown in a comparison; that of an undecided one would say too much.
SETTLED = frozenset({Verdict.PASS, Verdict.REGRESSED, Verdict.IMPROVED})


def rows(run: Run, findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Returns the findings by row: a row per case; of checks, which are many, a row per family of `run`'s cases."""
    families = {result.id: family(result) for result in run.cases}
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        gone = f"{finding.gate}, not in this run"  # an accepted check has no labels by which to know its family
        name = families.get(finding.case, gone) if is_counted(finding) else finding.case
        found.setdefault(name, []).append(finding)
    return found


def family(result: CaseResult) -> str:
    """Returns the name of a check's family, such as ``numerics/strides``."""
    labels = result.case.labels
    return f"{labels['gate']}/{labels['family']}" if {"gate", "family"} <= labels.keys() else result.id


def is_counted(finding: Finding) -> bool:
    """Returns if a finding is one of many of its family, without a number of its own."""
    return finding.gate in GATES and GATES[finding.gate].counted


def against_baseline(findings: list[Finding]) -> str:
    """Returns the changes of a case against the baseline: those of every gate."""
    if is_counted(findings[0]):
        return checked(findings)
    hidden = {Verdict.PASS, Verdict.NO_BASELINE}
    shown = [change(one) for one in findings if not (one.gate == "memory" and one.verdict in hidden)]
    return ", ".join(filter(None, shown)) or NOTHING


def against_environment(findings: list[Finding]) -> str:
    """Returns the changes of a case between two environments, with the interval of its time."""
    if is_counted(findings[0]):
        return checked(findings)
    parts = []
    for one in findings:
        if one.gate == "timing" and None not in (one.change, one.low, one.high):
            parts.append(f"{change(one)} ({units.change(one.low or 0.0)} to {units.change(one.high or 0.0)})")
        elif one.gate != "timing" and (one.change or one.gate == "convergence"):
            settled = one.gate == "memory" or one.verdict in SETTLED
            parts.append(change(one) if settled else "")
    return ", ".join(filter(None, parts)) or NOTHING


def change(finding: Finding) -> str:
    """Returns a gate's number and its name, such as "memory +3.0 %"; empty where there is none."""
    ratio, bound = finding.evidence.get("ratio"), finding.evidence.get("bound")
    if isinstance(ratio, int | float) and isinstance(bound, int | float):
        return f"{ratio:.2f} × partner (≤ {bound:g})"
    nearest = finding.evidence.get("nearest_machine_s")
    if isinstance(nearest, float) and finding.verdict is Verdict.NO_BASELINE:
        return f"{units.seconds(nearest)} on the nearest machine"
    if finding.change is not None:
        gate = GATES.get(finding.gate)
        label = gate.label_of(finding.evidence) if gate is not None else finding.gate
        return f"{label} {units.change(finding.change)}".lstrip()
    return "loss identical" if (finding.gate, finding.verdict) == ("convergence", Verdict.PASS) else ""


def checked(findings: list[Finding]) -> str:
    """Returns the number of checks in a row, and how many of them have a known deviation."""
    pinned = sum(bool(finding.evidence.get("pinned")) for finding in findings)
    count = units.count(len(findings), "check")
    return f"{count}, {pinned} with a pinned deviation" if pinned else count


def time(result: CaseResult | None) -> tuple[str, str]:
    """Returns the median over launches of their medians, and half the interquartile range of all samples."""
    timings = (result.undisturbed or result.timings) if result else ()
    if not timings:
        return NOTHING, NOTHING
    samples = [sample for timing in timings for sample in timing.samples_s]
    middle = median(median(timing.samples_s) for timing in timings)
    if len(samples) < 2:
        return units.seconds(middle), NOTHING
    lower, _, upper = quantiles(samples, n=4)
    return units.seconds(middle), units.spread((upper - lower) / 2 / middle)


def memory(result: CaseResult | None) -> str:
    """Returns the largest peak of a case's launches."""
    peaks = [one.memory.allocated_peak_bytes for one in result.timings] if result else []
    known = [peak for peak in peaks if peak is not None]
    return units.nbytes(max(known)) if known else NOTHING
