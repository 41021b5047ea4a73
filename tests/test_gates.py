"""All gates together: the order of findings, and what is missing."""

from __future__ import annotations

from bnsuite.judge.gates import judge
from bnsuite.judge.verdict import Verdict
from bnsuite.record.key import machine_key
from bnsuite.record.reference import CurveReference, Reference, from_run
from bnsuite.record.schema import Observation, Run
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
    here = make_run(result("numerics/ref/x", observations=(seen,)))
    there = here.model_copy(update={"device": "cuda:0"})
    assert set(from_run(here, "accepted", machine_key(here)).lines["checks"]) == {"numerics/ref/x"}
    assert "checks" not in from_run(there, "accepted", machine_key(here)).lines


def test_a_case_that_was_not_asked_for_is_not_missing() -> None:
    """Neither by -k, nor by the profile."""
    assert not any(one.verdict is Verdict.MISSING for one in judge(make_run(RUN.cases[1], select="op"), REFERENCE))
    only_full = {name: one.model_copy(update={"profiles": ("full",)}) for name, one in REFERENCE.convergence.items()}
    quick = judge(make_run(RUN.cases[1]), Reference(name="b", convergence=only_full))
    assert not any(one.verdict is Verdict.MISSING for one in quick)
