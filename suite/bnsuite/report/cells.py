"""The cells of a table: the changes that the gates found, the time and the memory of a case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median, quantiles

from bnsuite.judge.gates import GATES
from bnsuite.judge.reason import ReasonCode
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.schema import CaseResult, Run, Timing
from bnsuite.report import units
from bnsuite.report.tabular import NOTHING

#: The words for a step that the host launches more slowly than a GPU works on it.
LAUNCH_BOUND = "launch-bound"
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
        elif one.reason.code is ReasonCode.KERNELS_CHANGED:
            parts.append(change(one))
        elif one.gate != "timing" and (one.change or one.gate == "convergence"):
            settled = one.gate == "memory" or one.verdict in SETTLED
            parts.append(change(one) if settled else "")
    return ", ".join(filter(None, parts)) or NOTHING


def change(finding: Finding) -> str:
    """Returns a gate's number and its name, such as "memory +3.0 %"; empty where there is none."""
    ratio, bound = finding.evidence.get("ratio"), finding.evidence.get("bound")
    if isinstance(ratio, int | float) and isinstance(bound, int | float):
        return f"{ratio:.2f} × partner (≤ {bound:g})"
    if isinstance(ratio, int | float) and finding.verdict is Verdict.NO_BASELINE:
        return f"{ratio:.2f} × partner (not calibrated)"
    nearest = finding.evidence.get("nearest_machine_s")
    if isinstance(nearest, float) and finding.verdict is Verdict.NO_BASELINE:
        return f"{units.seconds(nearest)} on the nearest machine"
    if finding.change is not None:
        gate = GATES.get(finding.gate)
        label = gate.label_of(finding.evidence) if gate is not None else finding.gate
        return f"{label} {units.change(finding.change)}".lstrip()
    if finding.reason.code is ReasonCode.KERNELS_CHANGED:
        return "other kernels"
    return "loss identical" if (finding.gate, finding.verdict) == ("convergence", Verdict.PASS) else ""


def checked(findings: list[Finding]) -> str:
    """Returns the number of checks in a row, and how many of them have a known deviation."""
    pinned = sum(bool(finding.evidence.get("pinned")) for finding in findings)
    count = units.count(len(findings), "check")
    return f"{count}, {pinned} with a pinned deviation" if pinned else count


def number(finding: Finding) -> str:
    """Returns the number that a gate judged, with its name; empty where there is none."""
    return change(finding) if finding.change is not None or "ratio" in finding.evidence else ""


def interval(finding: Finding) -> str:
    """Returns the interval of that number, such as "+1.0 % to +3.0 %"; empty where there is none."""
    low, high = finding.evidence.get("low"), finding.evidence.get("high")
    if isinstance(low, int | float) and isinstance(high, int | float):  # of a ratio
        return f"{low:.2f} to {high:.2f}"
    if finding.low is None or finding.high is None:
        return ""
    return f"{units.change(finding.low)} to {units.change(finding.high)}"


def with_interval(finding: Finding) -> str:
    """Returns a number and its interval, such as "+2.0 % (+1.0 % to +3.0 %)"; empty where there is no number."""
    shown, bounds = number(finding), interval(finding)
    return f"{shown} ({bounds})" if shown and bounds else shown


def step_s(result: CaseResult | None) -> float | None:
    """Returns the median over launches of their medians, in seconds a step; None where there are none."""
    timings = _timings(result)
    return median(median(timing.samples_s) for timing in timings) if timings else None


def spread(samples: Sequence[float], middle: float) -> float | None:
    """Returns half the interquartile range relative to `middle`; None for fewer than two samples."""
    if len(samples) < 2:
        return None
    lower, _, upper = quantiles(samples, n=4)
    return (upper - lower) / 2 / middle


def spread_of(result: CaseResult | None) -> float | None:
    """Returns the spread of all samples of a case's launches; None where there are too few."""
    middle = step_s(result)
    return None if middle is None else spread([one for timing in _timings(result) for one in timing.samples_s], middle)


def peak_bytes(result: CaseResult | None) -> int | None:
    """Returns the largest peak of a case's launches in torch's allocator; None where there is none."""
    peaks = [one.memory.allocated_peak_bytes for one in result.timings] if result else []
    return max((peak for peak in peaks if peak is not None), default=None)


def _timings(result: CaseResult | None) -> tuple[Timing, ...]:
    """Returns the launches that count, or all where none does."""
    return (result.undisturbed or result.timings) if result else ()


def time(result: CaseResult | None) -> tuple[str, str]:
    """Returns the time of a step and its spread as cells."""
    middle, share = step_s(result), spread_of(result)
    return (
        NOTHING if middle is None else units.seconds(middle),
        NOTHING if share is None else units.spread(share),
    )


def memory(result: CaseResult | None) -> str:
    """Returns the largest peak as a cell."""
    peak = peak_bytes(result)
    return NOTHING if peak is None else units.nbytes(peak)
