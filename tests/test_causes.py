"""The sentence on what differs from a reference, where something got worse or better."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bnsuite.judge.reason import text as because
from bnsuite.judge.verdict import ExitStatus, Finding, Judgement, LayerChange, Verdict
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.report import causes, markdown, terminal
from bnsuite.report.html import page
from bnsuite.report.judged import ComparisonReport, Report, RunReport
from bnsuite.report.screen import Screen
from conftest import make_run, result

TORCH = LayerChange(layer="torch", before="2.13.0+cpu", now="2.14.1")
PYTHON = LayerChange(layer="Python", before="3.11.7", now="3.12.1")
CPU = LayerChange(layer="CPU", before="old", now="new")
RUN = make_run(result("op/x"))


def judgement(layers: Sequence[LayerChange], verdict: Verdict = Verdict.REGRESSED) -> Judgement:
    finding = Finding(case="op/x", gate="timing", verdict=verdict, reason=because("slow"), change=0.2)
    return Judgement(
        schema=Judgement.SCHEMA,
        reference="baselines/",
        status=ExitStatus.REGRESSED,
        findings=(finding,),
        layers=tuple(layers),
    )


def compared(*layers: LayerChange) -> ComparisonReport:
    times = InterleavedTimes(
        schema=InterleavedTimes.SCHEMA, a="a", b="b", seed=0, most_launches=2, budget_s=None, variables={}, cases=()
    )
    return ComparisonReport(RUN, RUN, times, judgement(layers))


def test_several_layers_are_no_single_cause() -> None:
    """They are named, with the command that changes torch alone."""
    assert causes.sentence(RunReport(RUN, judgement([TORCH, PYTHON, CPU]))) == (
        "torch, Python and CPU differ from the baseline's: no single cause can be named; "
        "`bnsuite ab torch==2.13.0 torch==2.14.1 --device cpu --timeout 60 -k op/x` changes torch alone"
    )


def test_two_layers_have_their_values() -> None:
    """Without torch among them, only two environments that differ in one layer can separate them."""
    assert causes.sentence(compared(PYTHON, CPU)) == (
        "Python (3.11.7 → 3.12.1) and CPU (old → new) differ between A and B: no single cause can be named; "
        "`bnsuite ab A B` of two environments that differ in one of them separates them"
    )


def test_a_single_layer_is_no_proof() -> None:
    """It is all that is known to differ, which is less than a cause."""
    report = RunReport(RUN, judgement([PYTHON], Verdict.IMPROVED))
    assert causes.sentence(report) == (
        "Python (3.11.7 → 3.12.1) is the only known difference from the baseline; "
        "that alone does not prove it to be the cause"
    )


@pytest.mark.parametrize(
    "report",
    [
        RunReport(RUN, judgement([])),
        RunReport(RUN, judgement([LayerChange(layer="batch norm", before="torch's own", now="mine.py:Norm")])),
        RunReport(RUN, judgement([TORCH, CPU], Verdict.PASS)),
        RunReport(RUN, judgement([TORCH, CPU], Verdict.INCONCLUSIVE)),
    ],
)
def test_without_a_change_nothing_is_said(report: Report) -> None:
    """Nothing got worse or better, or nothing is known to differ but what the command asked for."""
    assert causes.sentence(report) is None


def test_a_build_that_no_index_has_is_not_installed() -> None:
    """A nightly, or a build of one's own, has no release to compare with."""
    own = LayerChange(layer="torch", before="2.15.0a0+git123", now="2.14.1")
    told = causes.sentence(RunReport(RUN, judgement([own, CPU])))
    assert told is not None
    assert "torch==" not in told


def test_every_report_says_so() -> None:
    """The terminal, Markdown and the page have the sentence."""
    report = compared(TORCH, CPU)
    assert "no single cause can be named" in " ".join(terminal.render(report, Screen()).split())
    assert "no single cause can be named" in markdown.render(report)
    assert "no single cause can be named" in page.text(report)
