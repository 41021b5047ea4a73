"""The gates there are, and a run held against a reference by all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from bnsuite.judge import checks, convergence, memory, timing
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.lines import CheckLine, kind_of_device
from bnsuite.record.reference import CurveReference, Reference, TimingReference
from bnsuite.record.schema import Run
from bnsuite.record.select import matcher

Stored = TimingReference | CurveReference | CheckLine
Gate = Callable[[Run, Reference], list[Finding]]

#: A new gate is a line here, a module beside this one, and its name in the cases it judges.
GATES: dict[str, Gate] = {
    "numerics": checks.judge_numerics,
    "behaviour": checks.judge_behaviour,
    timing.GATE: timing.judge,
    memory.GATE: memory.judge,
    convergence.GATE: convergence.judge,
}


def judge(run: Run, reference: Reference, instead: Mapping[str, Gate] | None = None) -> list[Finding]:
    """All findings, in the order of the run's cases; then what the reference has and the run has not.

    A gate in `instead` takes the place of the usual one of its name.
    """
    gates = {**GATES, **(instead or {})}
    findings = [finding for gate in gates.values() for finding in gate(run, reference)]
    order = {result.id: place for place, result in enumerate(run.cases)}
    findings.sort(key=lambda finding: order[finding.case])
    return findings + _missing(run, reference)


def _missing(run: Run, reference: Reference) -> list[Finding]:
    """Cases that the reference has, and that the run's profile and selection should have had."""
    if run.options.implementation is not None:  # it is measured where it has a part, which is not everywhere
        return []
    has = {(result.id, gate) for result in run.cases for gate in result.outcomes}
    selected = matcher(run.options.select) if run.options.select else lambda _: True

    def lost(gate: str, stored: Iterable[Stored]) -> list[Finding]:
        return [
            Finding(
                case=one.id,
                gate=gate,
                verdict=Verdict.MISSING,
                summary=f"in {reference.name}, but not in this run; if the case is gone for good, remove it there",
            )
            for one in stored
            if (one.id, gate) not in has and run.options.profile in one.profiles and selected(one.id)
        ]

    # What a GPU has learnt may be of cases that a CPU's run does without.
    here = {"cuda", "cpu"} if kind_of_device(run) == "cuda" else {"cpu"}
    curves = [one for one in reference.convergence.values() if one.device in here]
    checks_lost = (lost(one.id.partition("/")[0], [one]) for one in reference.checks.values())
    return [
        *lost(timing.GATE, reference.timing.values()),
        *lost(convergence.GATE, curves),
        *(finding for findings in checks_lost for finding in findings),
    ]
