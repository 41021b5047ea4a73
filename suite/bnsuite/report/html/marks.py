"""Verdicts as a page shows them: a word and a class of the style, which adds a symbol: colour alone says nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from bnsuite.judge.verdict import WORST_FIRST, Finding, Verdict

#: The meaning of each verdict, for whoever opens a page without the README.
MEANINGS = {
    Verdict.REGRESSED: "worse by more than the margin",
    Verdict.FAILED: "raised an exception, crashed, hung, ran out of time, or the run ended before it",
    Verdict.MISSING: "present in the reference but not here",
    Verdict.INVALID: "measured under interference",
    Verdict.INCONCLUSIVE: "more data could decide",
    Verdict.NO_BASELINE: "nothing to compare with",
    Verdict.SKIPPED: "can't be measured here",
    Verdict.IMPROVED: "better by more than the margin",
    Verdict.PASS: "shown to be within the margin",
}


@dataclass(frozen=True)
class Mark:
    """A verdict as it is shown; `rank` sorts, the worst first."""

    word: str
    style: str
    rank: int
    meaning: str


MARKS = {
    verdict: Mark(verdict.value, verdict.value.lower().replace("_", "-"), rank, MEANINGS[verdict])
    for rank, verdict in enumerate(WORST_FIRST)
}
#: The mark of a case that nothing judged.
UNJUDGED = Mark("not judged", "unjudged", len(MARKS), "no verdict was given")


def counts(findings: Iterable[Finding]) -> list[tuple[Mark, int]]:
    """Returns how many findings there are of each verdict, the worst first."""
    found = Counter(one.verdict for one in findings)
    return [(MARKS[verdict], found[verdict]) for verdict in WORST_FIRST if found[verdict]]
