"""The kernels gate: a step launches what it did, by name and number, through the same backend of batch norm.

Which kernels run is a fact and no measure: more of them may be faster. So a change alarms only where nothing that is
known explains it, as between two builds of what should be one image. Where the release of torch, one of its libraries,
a setting or the implementation differs, that explains the change; the times say if it is for the worse, and a slowdown
names it.
"""

from __future__ import annotations

from collections import Counter

from bnsuite.judge.gate import Gate
from bnsuite.judge.outcomes import finding, not_measured, without_reference
from bnsuite.judge.reason import ReasonCode, Record, first_of, reason
from bnsuite.judge.verdict import EvidenceValue, Finding, Verdict
from bnsuite.record.launched import LaunchedKernels
from bnsuite.record.lines import KERNELS, KernelLine, conditions_of, torch_of
from bnsuite.record.reference import Reference
from bnsuite.record.schema import CaseResult, Run, Status

GATE = "kernels"

#: Names given of either kind, gone or new; the rest is counted.
MAX_NAMED = 3

#: The verdicts of a time that a change of kernels may explain.
EXPLAINED = frozenset({Verdict.REGRESSED, Verdict.IMPROVED})


def judge(run: Run, reference: Reference) -> list[Finding]:
    """Returns one finding for each case of which the kernels were looked at.

    A case that could not be looked at has one only if its times were measured: else the timing gate says why.
    """
    accepted = KERNELS.lines_of(reference.lines)
    found = []
    for result in run.cases:
        outcome, timing = result.outcomes.get(GATE), result.outcomes.get("timing")
        if outcome is None:
            continue
        if result.kernels is not None:
            found.append(_judge_case(run, result, result.kernels, accepted.get(result.id), reference))
        elif outcome.status is Status.SKIPPED and (timing is None or timing.status is Status.MEASURED):
            found.append(not_measured(result, GATE))
    return found


def _judge_case(
    run: Run, result: CaseResult, now: LaunchedKernels, stored: KernelLine | None, reference: Reference
) -> Finding:
    if stored is None or stored.version != result.case.version:
        return without_reference(result, GATE, reference, None if stored is None else stored.version)
    evidence: dict[str, EvidenceValue] = {"launched": now.number, "batch_norm": now.batch_norm}
    change = change_of(stored.kernels, now)
    if change is None:
        why = reason(ReasonCode.KERNELS_SAME, of=now.of, launched=now.number, batch_norm=now.batch_norm)
        return finding(result, GATE, Verdict.PASS, why).model_copy(update={"evidence": evidence})
    causes = _causes(run, stored)
    acceptable = reference.acceptable and run.options.implementation is None
    why = reason(ReasonCode.KERNELS_CHANGED, change=change, causes=[*causes], acceptable=acceptable)
    verdict = Verdict.REGRESSED
    if causes:
        verdict = Verdict.NO_BASELINE if acceptable else Verdict.PASS
    evidence |= {"launched_before": stored.kernels.number, "batch_norm_before": stored.kernels.batch_norm}
    return finding(result, GATE, verdict, why).model_copy(update={"evidence": evidence})


def _causes(run: Run, stored: KernelLine) -> list[str]:
    """Returns what differs between the run and its reference and may choose other kernels, "torch 2.13.0 → 2.14.1"."""
    before = {"torch": stored.torch, **stored.conditions}
    now = {"torch": torch_of(run), **conditions_of(run)}
    names = dict.fromkeys([*before, *now])
    apart = [name for name in names if before.get(name) != now.get(name)]
    if "torch" in apart and "torch revision" in apart:
        apart.remove("torch revision")
    return [f"{name} {before.get(name, _absent(name))} → {now.get(name, _absent(name))}" for name in apart]


def _absent(name: str) -> str:
    return "torch's own" if name == "batch norm" else "none"


def change_of(before: LaunchedKernels, now: LaunchedKernels) -> Record | None:
    """Returns the change of what a step launches, as data of a reason; None if there is none, whatever the order."""
    old, new = Counter(before.launched), Counter(now.launched)
    if old == new and before.batch_norm == now.batch_norm:
        return None
    gone, more_gone = first_of([f"{count} {name}" for name, count in (old - new).items()], MAX_NAMED)
    added, more_added = first_of([f"{count} {name}" for name, count in (new - old).items()], MAX_NAMED)
    return {
        "of": now.of,
        "before": before.number,
        "now": now.number,
        "gone": [*gone],
        "more_gone": more_gone,
        "new": [*added],
        "more_new": more_added,
        "batch_norm": None if before.batch_norm == now.batch_norm else [before.batch_norm, now.batch_norm],
    }


def explain(findings: list[Finding]) -> list[Finding]:
    """Returns the findings; a time that got worse or better has the change of kernels of its case in its reason."""
    changes = {
        one.case: one.reason.data["change"]
        for one in findings
        if one.gate == GATE and one.reason.code is ReasonCode.KERNELS_CHANGED
    }
    return [
        one.model_copy(
            update={"reason": one.reason.model_copy(update={"data": {**one.reason.data, "kernels": changes[one.case]}})}
        )
        if one.gate == "timing" and one.case in changes and (one.verdict in EXPLAINED or one.unconfirmed)
        else one
        for one in findings
    ]


KERNELS_GATE = Gate(name=GATE, judge=judge)
