"""The report on a terminal: the news first, nothing wider than the screen, nothing of a measured process by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bnsuite.judge.reason import ReasonCode, reason
from bnsuite.judge.reason import text as because
from bnsuite.judge.verdict import ExitStatus, Finding, Judgement, Verdict
from bnsuite.record.host import CheckState, HostCheck, HostReport
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.report import terminal
from bnsuite.report.detail import Detail
from bnsuite.report.judged import ComparisonReport, RunReport
from bnsuite.report.screen import Screen
from conftest import make_run, result, timing

LONG = "ratio/layer-vs-composition/batch_norm2d/fwd+bwd/f32/nchw/32x256x14x14"
RUN = make_run(
    result("op/a", timings=(timing(1e-3), timing(1e-3))),
    result(LONG, timings=(timing(4e-2),)),
    result("numerics/strides/a"),
)
FINDINGS = (
    Finding(case="op/a", gate="timing", verdict=Verdict.REGRESSED, reason=because("slower by 25%"), change=0.25),
    Finding(
        case=LONG,
        gate="timing",
        verdict=Verdict.INVALID,
        reason=reason(ReasonCode.DISTURBED, kind="core", by=[], launches=3, of=6),
    ),
    Finding(case="op/a", gate="memory", verdict=Verdict.PASS, reason=because("equal"), change=0.0),
    Finding(case="numerics/strides/a", gate="numerics", verdict=Verdict.PASS, reason=because("right")),
)
JUDGEMENT = Judgement(schema=Judgement.SCHEMA, reference="baselines/", status=ExitStatus.REGRESSED, findings=FINDINGS)
REPORT = RunReport(RUN, JUDGEMENT, folder=Path("results/x"))
TIMES = InterleavedTimes(schema=2, a="A", b="B", seed=0, most_launches=18, budget_s=None, variables={}, cases=())
COMPARISON = ComparisonReport(RUN, RUN, TIMES, JUDGEMENT, Path("results/x"))


def test_the_news_come_first_and_the_last_line_last() -> None:
    """What was measured, against what and where; then what is not PASS; then totals."""
    lines = terminal.render(REPORT, Screen()).splitlines()
    assert lines[0].startswith("bnsuite 0.1.0 · quick · cpu · torch 2.14.1")
    assert lines[1:4] == ["against baselines/", "results in results/x", ""]
    assert lines[4:7] == [
        "REGRESSED timing, op/a",
        "    +25.0 %: slower by 25%",
        "    bnsuite --device cpu --timeout 60 -k op/a",
    ]
    assert "numerics  all 1 check passed" in lines
    assert lines[-1].endswith("(exit status 1)")


@pytest.mark.parametrize("report", [REPORT, COMPARISON])
@pytest.mark.parametrize("detail", list(Detail))
@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_line_fits(report: RunReport | ComparisonReport, detail: Detail, width: int) -> None:
    """On 80 columns and on 60, also with long ids; a command's longest argument stays whole."""
    for line in terminal.render(report, Screen(width, terminal=True), detail).splitlines():
        assert len(line) <= width or f"-k {LONG}" in line


def test_the_last_line_may_stand_alone() -> None:
    """As with ``--quiet``."""
    (line,) = terminal.render(REPORT, Screen(), Detail.LAST_LINE).splitlines()
    assert line.startswith("REGRESSED: 1 REGRESSED, 1 INVALID, 2 PASS in 3 cases")


def test_everything_has_the_table() -> None:
    """A row per case and a row per family of checks, as with ``--all``."""
    text = terminal.render(REPORT, Screen(), Detail.EVERYTHING)
    assert "numerics/strides" in text
    assert "numerics/strides" not in terminal.render(REPORT, Screen())


def test_colours_are_added_and_change_no_word() -> None:
    """Without its colours and symbols the coloured report is the plain one."""
    plain = terminal.render(REPORT, Screen(200), Detail.EVERYTHING)
    painted = terminal.render(REPORT, Screen(200, color=True), Detail.EVERYTHING)
    assert "\x1b[" not in plain
    pieces = painted.split("\x1b[")
    assert "".join([pieces[0], *(piece.partition("m")[2] for piece in pieces[1:])]) == plain


def test_what_disturbed_the_host_stands_beside_what_it_may_have_spoiled() -> None:
    """Verdicts that background load can cause have it; a regression has not."""
    load = HostCheck(name="load", state=CheckState.DISTURBS, observed={"load": 3.2, "cores": 2})
    host = HostReport(schema=1, bnsuite="0.5.0", taken="2026-11-28T00:00:00+00:00", checks=(load,))
    report = replace(REPORT, host=host)
    lines = terminal.render(report, Screen()).splitlines()
    at = lines.index("  this host: load 3.2 on 2 cores")
    invalid = next(n for n, line in enumerate(lines) if line.startswith("INVALID"))
    assert invalid < at
    assert "" not in lines[invalid:at]
    slower = JUDGEMENT.model_copy(update={"findings": FINDINGS[:1]})
    assert "this host" not in terminal.render(replace(report, judgement=slower), Screen())


def test_a_diagnosis_leaves_less_to_read() -> None:
    """What is wrong with an implementation comes first, and of the checks that show it two are enough."""
    options = RUN.options.model_copy(update={"implementation": "kernel.py:Layer"})
    some = [f"numerics/strides/{n}" for n in range(5)]
    run = make_run(*map(result, some)).model_copy(update={"options": options})
    failed = tuple(
        Finding(case=name, gate="numerics", verdict=Verdict.FAILED, reason=because(f"RuntimeError: no {name}"))
        for name in some
    )
    report = RunReport(run, JUDGEMENT.model_copy(update={"findings": failed}))
    lines = terminal.render(report, Screen()).splitlines()
    assert lines.index("diagnosis of the implementation") < lines.index("FAILED numerics, numerics/strides/0")
    assert "  3 more FAILED; --all shows them" in lines


def test_many_items_are_counted_and_shown_with_everything() -> None:
    """A flood of failures leaves room for the rest."""
    many = tuple(
        Finding(case=f"op/{n}", gate="timing", verdict=Verdict.FAILED, reason=because(f"error {n}")) for n in range(20)
    )
    report = replace(REPORT, judgement=JUDGEMENT.model_copy(update={"findings": many}))
    shown = terminal.render(report, Screen())
    assert f"  {20 - terminal.MAX_ITEMS} more FAILED; --all shows them" in shown
    assert "error 19" not in shown
    assert "error 19" in terminal.render(report, Screen(), Detail.EVERYTHING)
