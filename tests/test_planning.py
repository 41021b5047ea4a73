"""The plan in words, and what a report says of a run that its budget cut short."""

from __future__ import annotations

from pathlib import Path

from bnsuite.judge.gates import judge
from bnsuite.judge.verdict import Judgement, Verdict, exit_status
from bnsuite.record.accept import accept
from bnsuite.record.durations import BUDGET
from bnsuite.record.planned import Estimate, StagePlan
from bnsuite.record.reference import Reference
from bnsuite.record.schema import Run
from bnsuite.report import markdown, news, planning, totals
from bnsuite.report.html import page
from bnsuite.report.judged import RunReport
from bnsuite.report.summary import last_line
from conftest import curve, make_run, result, timing

NOTHING = Reference(name="baselines/")
ESTIMATE = Estimate(
    stages={"checks": StagePlan(214, 70.0, 1.0), "trainings": StagePlan(24, 20.0), "timing": StagePlan(1, 100.0, 1.0)},
    launches=3,
    seeds=3,
)


def cut_short() -> Run:
    """A run of which the budget left two hundred checks, a layer and some launches of another."""
    run = make_run(
        result("op/a", timings=(timing(1e-3),) * 3),
        result("op/b", timings=(timing(1e-3),)),
        result("op/c"),
        result("train/d", curves=(curve(0),), timings=(timing(1e-3),) * 3),
        *(result(f"numerics/dtypes/{n}") for n in range(200)),
    )
    options = run.options.model_copy(update={"budget_s": 60.0})
    more = {"planned": {"checks": 40.0, "timing": 20.0}, "took": {"timing": 55.0, "confirming": 4.0}}
    return run.model_copy(update={"options": options, "ended_by": BUDGET, **more})


def report(run: Run) -> RunReport:
    findings = tuple(judge(run, NOTHING))
    status = exit_status(findings, finished=run.finished, strict=False)
    judgement = Judgement(schema=Judgement.SCHEMA, reference="baselines/", status=status, findings=findings)
    return RunReport(run, judgement, folder=None, reference=NOTHING)


def test_the_plan_is_one_line() -> None:
    """It has each stage with its number, and says what the times are known from, and what a budget does."""
    assert planning.before(ESTIMATE) == (
        "about 3 min 10 s by plan (by earlier times on this machine): 214 checks, 1 min 10 s; 24 seeds of trainings, "
        "20 s; 1 timed case in 3 launches, 1 min 40 s"
    )
    unknown = Estimate(stages={"checks": StagePlan(1, 5.0)}, launches=3, seeds=3)
    assert planning.before(unknown) == "about 5 s by plan (a rough guess until a run is kept): 1 check, 5 s"
    assert planning.before(ESTIMATE, 600.0).endswith("; --budget gives 10 min 00 s")
    assert planning.before(ESTIMATE, 60.0).endswith("; --budget gives 1 min 00 s, so the most telling cases come first")


def test_the_time_stands_beside_its_plan() -> None:
    """In all and by stage, with the totals; a run without a plan has no such line."""
    said = "planned 1 min 00 s, took 59 s (checks 40 s and 0 s, timing 20 s and 55 s, confirming 4 s besides)"
    run = cut_short()
    assert totals.lines(run, judge(run, NOTHING))[-1] == ("time", said)
    assert said in markdown.render(report(run))
    assert said in page.text(report(run))
    assert planning.after(make_run(result("op/a"))) is None


def test_what_the_budget_left_is_one_item() -> None:
    """With the number of cases, not of findings, and the command that measures them; nothing of it has failed."""
    shown = report(cut_short())
    verdicts = {one.verdict for one in shown.judgement.findings}
    assert verdicts == {Verdict.INCONCLUSIVE, Verdict.NO_BASELINE}
    (left,) = [item for item in news.items(shown) if item.verdict is Verdict.INCONCLUSIVE]
    assert left.who == "202 cases"
    assert left.gate == "timing, numerics"
    assert left.reason == "the budget ended before they were measured; 1 of them in part"
    assert left.command == "bnsuite --device cpu --timeout 60"
    assert "Measure it without the budget" in page.text(shown)


def test_one_case_that_is_left_says_why() -> None:
    """The command names it."""
    run = make_run(result("op/a", timings=(timing(1e-3),) * 3), result("op/b", timings=(timing(1e-3),)))
    run = run.model_copy(update={"ended_by": BUDGET})
    (left,) = [item for item in news.items(report(run)) if item.verdict is Verdict.INCONCLUSIVE]
    assert left.reason == "the budget ended after 1 launch; too few to judge it"
    assert left.command == "bnsuite --device cpu --timeout 60 -k op/b"


def test_the_last_line_names_the_budget() -> None:
    """The status is that of a comparison whose budget ended: 0 if nothing is wrong."""
    shown = report(cut_short())
    line = last_line(shown.run, list(shown.judgement.findings), shown.judgement.status)
    assert "(the budget ended before all was measured)" in line
    assert line.endswith("(exit status 0)")


def test_what_was_measured_in_part_is_not_accepted(tmp_path: Path) -> None:
    """Launches that are too few to judge make no baseline; a case with all of them does."""
    changes, _ = accept([cut_short()], tmp_path)
    assert [(one.case, one.gate) for one in changes if one.gate == "timing" and one.measured] == [
        ("op/a", "timing"),
        ("train/d", "timing"),
    ]
    assert not any(one.gate == "convergence" and one.measured for one in changes)
