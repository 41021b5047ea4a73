"""The exit status, which others rely on."""

from __future__ import annotations

import itertools

import pytest

from bnsuite.judge.reason import text as because
from bnsuite.judge.verdict import ExitStatus, Finding, Verdict, exit_status, worst


def findings(*verdicts: Verdict) -> list[Finding]:
    return [Finding(case=f"c{n}", gate="timing", verdict=one, reason=because("")) for n, one in enumerate(verdicts)]


@pytest.mark.parametrize(
    ("verdict", "plain", "strict"),
    [
        (Verdict.PASS, 0, 0),
        (Verdict.IMPROVED, 0, 0),
        (Verdict.NO_BASELINE, 0, 3),
        (Verdict.SKIPPED, 0, 3),
        (Verdict.INCONCLUSIVE, 0, 3),
        (Verdict.REGRESSED, 1, 1),
        (Verdict.FAILED, 3, 3),
        (Verdict.MISSING, 3, 3),
        (Verdict.INVALID, 3, 3),
    ],
)
def test_each_verdict_has_its_status(verdict: Verdict, plain: int, strict: int) -> None:
    """The table of the design, word for word."""
    some = findings(Verdict.PASS, verdict)
    assert exit_status(some, finished=True, strict=False) == plain
    assert exit_status(some, finished=True, strict=True) == strict


def test_a_regression_is_never_hidden() -> None:
    """1 wins over 3, whatever else went wrong."""
    for others in itertools.combinations(Verdict, 2):
        assert exit_status(findings(Verdict.REGRESSED, *others), finished=False, strict=True) == 1


def test_nothing_measured_is_never_fine() -> None:
    """No finding at all, or a run that did not come to its end, is status 3."""
    assert exit_status([], finished=True, strict=False) == ExitStatus.NOT_MEASURED
    assert exit_status(findings(Verdict.PASS), finished=False, strict=False) == ExitStatus.NOT_MEASURED


@pytest.mark.parametrize(
    ("low", "unconfirmed", "status"), [(0.11, 1, 3), (0.09, 1, 0), (7.8, 1, 3), (7.8, 0, 0), (None, 1, 0)]
)
def test_a_large_slowdown_that_is_not_confirmed_is_not_fine(low: float | None, unconfirmed: int, status: int) -> None:
    """Nine times the time ends with 3 though time ran out before it was confirmed; what may be chance does not."""
    (one,) = findings(Verdict.INCONCLUSIVE)
    one = one.model_copy(update={"low": low, "evidence": {"unconfirmed": unconfirmed}})
    assert exit_status([one], finished=True, strict=False) == status
    assert exit_status([one, *findings(Verdict.REGRESSED)], finished=True, strict=False) == 1


def test_the_worst_is_shown() -> None:
    """A row of the table has the worst verdict of its case."""
    assert worst(findings(Verdict.PASS, Verdict.NO_BASELINE, Verdict.FAILED)) is Verdict.FAILED
    assert worst(findings(Verdict.FAILED, Verdict.REGRESSED)) is Verdict.REGRESSED
