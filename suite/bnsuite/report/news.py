"""The news of a report: what is not PASS, worst first, with its number, its reason and the command that settles it.

Findings with the same verdict, gate and reason are one item, also where only their numbers differ. Terminal,
Markdown and HTML are made of items.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bnsuite.judge.budget import OPEN
from bnsuite.judge.reason import ReasonCode
from bnsuite.judge.verdict import DECIDED_WELL, WORST_FIRST, Finding, Verdict
from bnsuite.report import cells, commands, text, units
from bnsuite.report.judged import Report
from bnsuite.report.reasons import kernels_too, sentence

#: Causes by which all times of a machine have no baseline: it is new here.
_NEW_MACHINE = frozenset({"no-timing", "no-timing-of-machine"})
#: What an item calls the gates of checks together, and what it says of those that a new kind of GPU has no numbers of.
CHECKS, NEW_GPU = "checks", "they have no baseline on this kind of GPU"
#: Reasons whose numbers differ from case to case: the words for several of them.
_SHARED: dict[ReasonCode, str] = {
    ReasonCode.METRICS_UNDECIDED: "too few seeds to settle every metric; more can: --profile full",
    ReasonCode.TIME_UNDECIDED: "neither slower nor within the margin; more launches would decide",
    ReasonCode.NOT_WITHIN_LIMIT: "not shown to be within the limits of the baseline",
    ReasonCode.CONTROLS_CHANGED: "the controls changed as much: the machine is in another state",
    ReasonCode.RATIO_NOT_CALIBRATED: "no limits are calibrated on this kind of GPU",
    ReasonCode.RATIO_UNDECIDED: "not shown to be below their limits",
    ReasonCode.SLOWDOWN_CONFIRMED: "slower, and again in fresh launches",
    ReasonCode.FASTER: "faster than the baseline",
    ReasonCode.METRICS_BETTER: "better, and to be acknowledged with `bnsuite accept`",
}


@dataclass(frozen=True)
class Place:
    """One case of an item, with a number of its own; empty where the item says it, or there is none."""

    case: str
    number: str


@dataclass(frozen=True)
class Item:
    """One piece of news: cases with one verdict of one gate, for one reason."""

    verdict: Verdict
    gate: str
    places: tuple[Place, ...]
    reason: str
    #: The command that settles it; None where no command does.
    command: str | None
    #: The findings themselves, in the order of the cases.
    findings: tuple[Finding, ...]

    @property
    def who(self) -> str:
        """The case, or how many there are."""
        return self.places[0].case if len(self.places) == 1 else f"{len(self.places)} cases"

    @property
    def is_new_machine(self) -> bool:
        """Times have no baseline, since none was accepted on a machine like this one."""
        return is_new_machine(self.findings[0])


def is_new_machine(finding: Finding) -> bool:
    """Returns if a finding says that no times were accepted on a machine like this one."""
    data = finding.reason.data
    return (
        finding.gate == "timing"
        and finding.verdict is Verdict.NO_BASELINE
        and finding.reason.code is ReasonCode.NO_REFERENCE
        and data.get("cause") in _NEW_MACHINE
        and bool(data.get("acceptable"))
    )


def items(report: Report) -> list[Item]:
    """Returns what is not PASS: the worst verdict first, then the largest change."""
    groups: dict[tuple[Verdict, str, str], list[Finding]] = {}
    for finding in report.judgement.findings:
        if finding.verdict is not Verdict.PASS:
            groups.setdefault((finding.verdict, _gate(finding), _kind(finding)), []).append(finding)
    ordered = sorted(groups.values(), key=lambda one: (WORST_FIRST.index(one[0].verdict), -_largest(one)))
    return [_item(report, findings) for findings in ordered]


def _is_new_gpu(finding: Finding) -> bool:
    """Returns True for a check on a GPU that nothing was accepted or calibrated for."""
    return cells.is_counted(finding) and (
        commands.is_to_calibrate(finding)
        or (finding.verdict is Verdict.NO_BASELINE and finding.reason.data.get("calibrated") is not None)
    )


def _gate(finding: Finding) -> str:
    """Returns what findings of one item have in common: one of what the budget left, and of checks on a new GPU."""
    if is_left_over(finding):
        return ""
    return CHECKS if _is_new_gpu(finding) else finding.gate


def is_left_over(finding: Finding) -> bool:
    """Returns if the budget had no time for a case, or not enough; a slowdown that it left unconfirmed is news."""
    return finding.verdict is Verdict.INCONCLUSIVE and finding.reason.code in OPEN and _by_budget(finding)


def _by_budget(finding: Finding) -> bool:
    return finding.reason.data.get("by", "budget") == "budget" and finding.change is None


def _largest(findings: list[Finding]) -> float:
    """Returns the largest change, in either direction."""
    return max(abs(one.change or 0.0) for one in findings)


def _kind(finding: Finding) -> str:
    """Returns what findings of one item have in common: the reason in words, or its code where numbers differ."""
    code, data = finding.reason.code, finding.reason.data
    if _is_new_gpu(finding):
        return f"{NEW_GPU} {commands.is_to_calibrate(finding)}"
    if is_left_over(finding):
        return "left over"
    if code is ReasonCode.DISTURBED:
        return f"{code.value} {data.get('kind')} {data.get('by')}"
    if code in _SHARED:
        return f"{code.value} {bool(data.get('flagged'))}{kernels_too(finding.reason)}"
    return _reason(finding)


def _reason(finding: Finding) -> str:
    """Returns the reason in words, without the command that stands beside it."""
    return sentence(finding.reason.without("confirm"))


def _item(report: Report, findings: list[Finding]) -> Item:
    first = findings[0]
    if is_left_over(first):
        return _left_over(report, findings)
    cases = tuple(one.case for one in findings)
    reasons = dict.fromkeys(map(_reason, findings))
    reason = next(iter(reasons)) if len(reasons) == 1 else _shared(findings) + kernels_too(first.reason)
    return Item(
        verdict=first.verdict,
        gate=text.one_line(_gate(first)),
        places=tuple(Place(_name(one.case), _number(one, reason)) for one in findings),
        reason=reason,
        command=commands.settle(report, first, cases),
        findings=tuple(findings),
    )


def _left_over(report: Report, findings: list[Finding]) -> Item:
    """Returns one item of all that the budget had no time for, or not enough, whichever gates would have judged it."""
    by_case = {one.case: one for one in findings}
    part = [case for case, one in by_case.items() if one.reason.code is not ReasonCode.BUDGET_ENDED]
    gates = dict.fromkeys(text.one_line(one.gate) for one in findings)
    some = f"; {len(part)} of them in part" if 0 < len(part) < len(by_case) else ""
    alone = len(by_case) == 1
    reason = _reason(findings[0]) if alone else f"the budget ended before they were measured{some}"
    return Item(
        verdict=Verdict.INCONCLUSIVE,
        gate=", ".join(gates),
        places=tuple(Place(_name(case), "") for case in by_case),
        reason=reason,
        command=commands.measure(report, list(by_case)),
        findings=tuple(by_case.values()),
    )


def _name(case: str) -> str:
    return text.clipped(text.one_line(case), text.MAX_CELL)


def _shared(findings: list[Finding]) -> str:
    """Returns the words for findings whose reasons differ in their numbers."""
    first = findings[0].reason
    if _is_new_gpu(findings[0]):
        return NEW_GPU
    if first.code is ReasonCode.TIME_UNDECIDED and first.data.get("flagged"):
        return "slowdowns that are not confirmed; more launches would decide"
    if first.code in _SHARED:
        return _SHARED[first.code]
    told = [one.reason.data.get("launches") for one in findings]
    counts = sorted(one for one in told if isinstance(one, int))
    several = f"{counts[0]} to {counts[-1]}" if counts and counts[0] < counts[-1] else told[0]
    return sentence(first.model_copy(update={"data": {**first.data, "launches": several}}))


def _number(finding: Finding, reason: str) -> str:
    """Returns the change of a finding with its interval, unless the reason says the number itself."""
    number = cells.number(finding)
    return cells.with_interval(finding) if number and number not in reason else ""


def new_machine(report: Report, item: Item) -> str:
    """Returns the sentence on times without a baseline on a new machine, and what was judged all the same."""
    nearest = item.findings[0].reason.data.get("details") or ()
    details = text.listed([str(one) for one in nearest], between="; ") if isinstance(nearest, list | tuple) else ""
    apart = f" (the nearest machine with one has {text.one_line(details)})" if details else ""
    judged = _decided(report.judgement.findings)
    besides = f"; {judged} judged all the same" if judged else ""
    return f"no times were accepted on this machine yet{apart}: {units.count(len(item.places), 'case')}{besides}"


def _decided(findings: Iterable[Finding]) -> str:
    """Returns what was judged, such as "236 checks, memory, kernels, training curves and ratios were"."""
    settled = [one for one in findings if one.verdict in {*DECIDED_WELL, Verdict.REGRESSED}]
    checks = sum(cells.is_counted(one) for one in settled)
    gates = {one.gate for one in settled}
    parts = [units.count(checks, "check")] if checks else []
    parts += ["memory"] if "memory" in gates else []
    parts += ["kernels"] if "kernels" in gates else []
    parts += ["training curves"] if "convergence" in gates else []
    parts += ["ratios"] if "timing" in gates else []
    if not parts:
        return ""
    joined = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"{joined} {'was' if parts == ['memory'] else 'were'}"
