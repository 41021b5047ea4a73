"""One line per kind of case."""

from __future__ import annotations

from bnsuite.judge.reason import ReasonCode, reason
from bnsuite.judge.reason import text as because
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.schema import Run
from bnsuite.report import totals
from conftest import make_run, result

IDS = ("numerics/strides/a", "numerics/strides/b", "op/a", "op/b", "op/c", "train/w/bn/x", "train/w/none/x")
RUN: Run = make_run(*map(result, IDS))


def finding(
    case: str, gate: str, verdict: Verdict = Verdict.PASS, *, change: float | None = None, pinned: int = 0
) -> Finding:
    """A finding with little more than a verdict."""
    evidence: dict[str, float | int | str | None] = {"pinned": pinned} if pinned else {}
    return Finding(case=case, gate=gate, verdict=verdict, reason=because(""), change=change, evidence=evidence)


def lines(*findings: Finding) -> dict[str, str]:
    """The lines by name."""
    return dict(totals.lines(RUN, findings))


def test_checks_are_counted_by_gate() -> None:
    """With those that have a known deviation, and those that did not pass."""
    some = [finding(IDS[0], "numerics"), finding(IDS[1], "numerics", pinned=1)]
    assert lines(*some) == {"numerics": "all 2 checks passed, 1 with a known deviation (pinned)"}
    some[0] = finding(IDS[0], "numerics", Verdict.REGRESSED)
    assert lines(*some)["numerics"].startswith("1 of 2 checks passed")
    assert lines(*some)["numerics"].endswith("(1 REGRESSED)")


def test_layers_have_their_times_and_memory() -> None:
    """The median change says whether the whole moved; memory is exact if no peak changed."""
    times = [finding(f"op/{name}", "timing", change=change) for name, change in (("a", 0.01), ("b", 0.03), ("c", -0.5))]
    memory = [finding("op/a", "memory", change=0.0)]
    assert lines(*times, *memory) == {"layers": "times of all 3 within the margin, median change +1.0 %; memory exact"}
    grown = finding("op/a", "memory", Verdict.REGRESSED, change=0.2)
    assert lines(*times, grown)["layers"].endswith("memory of 0 of 1 within the margin (1 REGRESSED)")


def test_nothing_is_called_within_a_margin_that_was_not_judged() -> None:
    """Times without a baseline were taken, and no more."""
    assert lines(finding("op/a", "timing", Verdict.NO_BASELINE)) == {"layers": "1 timed (1 NO_BASELINE)"}


def test_identical_curves_are_called_so() -> None:
    """Others are within their margins, or not decided."""
    same = Finding(
        case="train/w/bn/x", gate="convergence", verdict=Verdict.PASS, reason=reason(ReasonCode.CURVES_EQUAL, seeds=3)
    )
    assert lines(same) == {"trainings": "curves identical"}
    open_one = finding("train/w/none/x", "convergence", Verdict.INCONCLUSIVE)
    assert lines(same, open_one) == {"trainings": "curves identical in 1 of 2 (1 INCONCLUSIVE)"}


def test_a_figure_without_a_limit_is_within_none() -> None:
    """Ratios of scaling are measured, and judged by nothing."""
    run = make_run(result("ratio/scaling/x"), result("ratio/layouts/x"))
    figure = Finding(
        case="ratio/scaling/x",
        gate="timing",
        verdict=Verdict.PASS,
        reason=reason(ReasonCode.RATIO_WITHOUT_BOUND, ratio=1.4),
    )
    judged = finding("ratio/layouts/x", "timing")
    assert dict(totals.lines(run, [figure, judged])) == {
        "ratios": "all 1 within their limits; 1 measured, without a limit"
    }
