"""All gates together: the order of findings, and what is missing."""

from __future__ import annotations

import pytest

from bnsuite.judge.gate import Gate
from bnsuite.judge.gates import GATES, judge
from bnsuite.judge.reason import text as because
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.key import machine_key
from bnsuite.record.reference import CurveReference, Reference, from_run
from bnsuite.record.schema import Observation, Outcome, Run, Status
from bnsuite.report import table
from bnsuite.report.reasons import words
from bnsuite.report.screen import Screen
from conftest import curve, make_run, result, timing

RUN = make_run(
    result("train/w/bn/x", timings=(timing(1e-2),) * 3, curves=(curve(0), curve(1))),
    result("op/a", timings=(timing(1e-3),) * 3),
)
REFERENCE = from_run(RUN, "accepted", machine_key(RUN))


def test_findings_follow_the_cases() -> None:
    """One finding a case and gate, in the run's own order."""
    assert [(one.case, one.gate) for one in judge(RUN, Reference(name="b"))] == [
        ("train/w/bn/x", "timing"),
        ("train/w/bn/x", "convergence"),
        ("op/a", "timing"),
    ]


def test_a_case_that_vanished_is_missing() -> None:
    """pytest-benchmark's own comparison would never mention it."""
    findings = judge(make_run(RUN.cases[1]), REFERENCE)
    assert [(one.case, one.gate) for one in findings if one.verdict is Verdict.MISSING] == [
        ("train/w/bn/x", "timing"),
        ("train/w/bn/x", "convergence"),
    ]


def test_what_only_a_gpu_has_learnt_is_not_missed_on_a_cpu() -> None:
    """Its trainings may be of cases that a CPU does without; what a CPU has learnt every machine must have."""
    there = {name: one.model_copy(update={"device": "cuda"}) for name, one in REFERENCE.convergence.items()}
    alone = make_run(RUN.cases[1])
    on_gpu = alone.model_copy(update={"device": "cuda:0"})

    def lost(run: Run, stored: dict[str, CurveReference]) -> bool:
        return any(one.verdict is Verdict.MISSING for one in judge(run, Reference(name="b", convergence=stored)))

    assert [lost(alone, there), lost(on_gpu, there)] == [False, True]
    assert [lost(alone, REFERENCE.convergence), lost(on_gpu, REFERENCE.convergence)] == [True, True]


def test_checks_of_a_gpu_are_none_of_a_cpus() -> None:
    """As in the baselines: what another kind of device saw is nothing to hold these checks against."""
    seen = Observation(what="outcome", value="refused")
    here = make_run(result("numerics/reference/x", observations=(seen,)))
    there = here.model_copy(update={"device": "cuda:0"})
    assert set(from_run(here, "accepted", machine_key(here)).lines["checks"]) == {"numerics/reference/x"}
    assert "checks" not in from_run(there, "accepted", machine_key(here)).lines


def test_a_reference_says_why_it_has_nothing_of_a_case() -> None:
    """A run that has the case but measured it beside something else, or on another machine, is not one without it."""

    def why(reference_run: Run, gate: str, run: Run = RUN) -> str:
        reference = from_run(reference_run, "that run", machine_key(run))
        return next(words(one) for one in judge(run, reference) if one.gate == gate and one.case != "op/a")

    both = make_run(result("memory/x", timings=(timing(1e-3),) * 3), RUN.cases[1])
    disturbed = make_run(result("memory/x", timings=(timing(1e-3, cpu_share=0.5),) * 3))
    assert why(disturbed, "timing", both) == "that run has it, but INVALID: all of its launches were disturbed"
    elsewhere = make_run(*both.cases, threads=2)
    for gate in ("timing", "memory"):
        assert why(elsewhere, gate, both) == "that run was measured on another machine: threads 2, not 1"
    failed = make_run(result("memory/x", outcomes={"timing": Outcome(status=Status.FAILED, reason="it died")}))
    assert why(failed, "timing", both) == "that run has it, but FAILED: it died"
    assert why(make_run(RUN.cases[1]), "timing", both) == "not in that run"


def test_a_gate_of_ones_own_needs_its_module_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its findings come with the others, its missing cases are found, and tables show its number by its label."""
    number = Finding(case="op/a", gate="energy", verdict=Verdict.PASS, reason=because("within"), change=0.03)
    accepted = REFERENCE.timing["op/a"].model_copy(update={"id": "op/gone"})
    energy = Gate("energy", lambda *_: [number], accepted=lambda *_: [accepted], label="energy")
    monkeypatch.setitem(GATES, "energy", energy)
    findings = judge(RUN, REFERENCE)
    assert number in findings
    assert [(one.case, one.gate) for one in findings if one.verdict is Verdict.MISSING] == [("op/gone", "energy")]
    shown = table.rows(RUN, findings, Screen())
    assert any("energy +3.0 %" in line for line in shown.splitlines() if line.startswith("op/a"))


def test_a_case_that_was_not_asked_for_is_not_missing() -> None:
    """Neither by -k, nor by the profile."""
    assert not any(one.verdict is Verdict.MISSING for one in judge(make_run(RUN.cases[1], select="op"), REFERENCE))
    only_full = {name: one.model_copy(update={"profiles": ("full",)}) for name, one in REFERENCE.convergence.items()}
    quick = judge(make_run(RUN.cases[1]), Reference(name="b", convergence=only_full))
    assert not any(one.verdict is Verdict.MISSING for one in quick)


@pytest.mark.parametrize(("measured", "missing"), [("op/a", 0), ("workload/b/step", 0), ("workload/a/forward", 1)])
def test_a_workload_that_the_run_was_not_given_is_not_missing(measured: str, missing: int) -> None:
    """Files of workloads share one folder of baselines; a part of a workload that was measured is missed."""
    accepted = make_run(result("workload/a/step", timings=(timing(1e-3),)))
    findings = judge(
        make_run(result(measured, timings=(timing(1e-3),))), from_run(accepted, "accepted", machine_key(accepted))
    )
    lost = {one.case for one in findings if one.verdict is Verdict.MISSING}
    assert lost == ({"workload/a/step"} if missing else set())


def test_a_rehearsal_is_judged_by_nothing() -> None:
    """Numbers that no GPU has made are INVALID, whatever they would be; a case that failed has failed."""
    run = make_run(*RUN.cases, result("op/b", outcomes={"timing": Outcome(status=Status.FAILED, reason="it raised")}))
    environment = run.environment.model_copy(update={"rehearsal": True})
    rehearsed = run.model_copy(update={"environment": environment})
    findings = judge(rehearsed, REFERENCE)
    assert [one.verdict for one in findings] == [Verdict.INVALID] * 3 + [Verdict.FAILED]
    assert {words(one) for one in findings[:3]} == {"rehearsed on a CUDA that is a name: the numbers are no GPU's"}


def test_a_retired_case_is_not_missed() -> None:
    """Baselines of before have cases whose work others do today."""
    lost = ("behaviour/frozen/batch_norm2d/folded/conv/groups=2", "behaviour/frozen/batch_norm2d/others")
    before = make_run(*(result(name, observations=(Observation(what="y", value=1.0, limit=2.0),)) for name in lost))
    findings = judge(make_run(RUN.cases[1]), from_run(before, "accepted", machine_key(before)))
    assert [one.case for one in findings if one.verdict is Verdict.MISSING] == [lost[1]]
