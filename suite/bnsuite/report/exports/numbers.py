"""What was measured of a case, as plain numbers: only launches that count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from bnsuite.judge.timing import share_of_limit
from bnsuite.judge.verdict import Finding, Verdict
from bnsuite.record.schema import CaseResult
from bnsuite.report import cells
from bnsuite.report.exports.subject import Subject

#: Verdicts of the timing gate that say that the times are none.
_WORTHLESS = frozenset({Verdict.FAILED, Verdict.INVALID})


@dataclass(frozen=True)
class Measured:
    """The numbers of one timed case; None or empty where there is none that counts."""

    result: CaseResult
    #: The median of each launch, in seconds a step.
    launches_s: tuple[float, ...]
    #: The largest peak of a step, in bytes of torch's allocator.
    peak_bytes: int | None
    #: The share of a copy's bandwidth; a comparison times no copy of as many bytes.
    copy_share: float | None

    @property
    def case(self) -> str:
        """Returns the id of the case."""
        return self.result.id

    @property
    def step_s(self) -> float | None:
        """Returns the median over launches, in seconds a step."""
        return median(self.launches_s) if self.launches_s else None


def measured(subject: Subject) -> Iterator[Measured]:
    """Yields the numbers of each case that has any, in the order of the run.

    Times of a case whose timing is INVALID or FAILED are left out: a dashboard would take them for real ones.
    """
    worthless = {one.case for one in subject.findings if one.gate == "timing" and one.verdict in _WORTHLESS}
    for result in subject.run.cases:
        counts = result.id not in worthless
        launches = tuple(median(one.samples_s) for one in result.undisturbed) if counts else ()
        peak = cells.peak_bytes(result)
        if launches or peak is not None:
            share = share_of_limit(result) if counts and subject.times is None else None
            yield Measured(result, launches, peak, share)


def elapsed_s(subject: Subject) -> dict[str, float]:
    """Returns the seconds that measuring the time of each case took: all rounds and controls of all launches."""
    if subject.times is not None:
        return {
            paired.id: sum(one.iterations * sum(map(sum, one.a_rounds_s + one.b_rounds_s)) for one in paired.launches)
            for paired in subject.times.cases
        }
    return {
        result.id: sum(
            one.iterations * sum(one.samples_s) + sum(map(sum, one.controls_s.values())) for one in result.timings
        )
        for result in subject.run.cases
    }


def of_finding(finding: Finding) -> dict[str, float]:
    """Returns the relative change of a finding and its bounds, as far as they are known."""
    named = {"change": finding.change, "low": finding.low, "high": finding.high}
    return {name: value for name, value in named.items() if value is not None}
