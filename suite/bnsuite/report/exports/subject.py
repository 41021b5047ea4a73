"""The judged run behind a report, and its findings in the order in which a short page takes them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property

from bnsuite.judge.gates import GATES
from bnsuite.judge.verdict import WORST_FIRST, Finding, Judgement, Verdict
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.schema import CaseResult, Run
from bnsuite.report import cells, commands, comparison, kernels, table, text
from bnsuite.report.judged import ComparisonReport, Report
from bnsuite.report.summary import last_line

RUN, COMPARISON = "run", "comparison"


@dataclass(frozen=True)
class Subject:
    """A judged run, or B of a comparison with what it was compared with."""

    report: Report
    run: Run
    judgement: Judgement
    #: A of a comparison, and the times of both sides.
    trusted: Run | None = None
    times: InterleavedTimes | None = None

    @classmethod
    def of(cls, report: Report) -> Subject:
        """Returns the subject of a report."""
        if isinstance(report, ComparisonReport):
            return cls(report, report.b, report.judgement, report.a, report.times)
        return cls(report, report.run, report.judgement)

    @property
    def kind(self) -> str:
        """Returns "run" or "comparison"."""
        return RUN if self.times is None else COMPARISON

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Returns one finding per case and gate, the most important first: worst verdict, then largest change."""
        found: dict[tuple[str, str], Finding] = {}
        for one in sorted(self.judgement.findings, key=_importance):
            found.setdefault((one.case, one.gate), one)
        return tuple(found.values())

    @cached_property
    def results(self) -> dict[str, CaseResult]:
        """Returns what was measured, by case."""
        return {result.id: result for result in self.run.cases}

    @cached_property
    def gates(self) -> tuple[str, ...]:
        """Returns the gates that judged, in the order of ``GATES``."""
        there = {one.gate for one in self.findings}
        return tuple(gate for gate in GATES if gate in there) + tuple(sorted(there - GATES.keys()))

    def counts(self, gate: str) -> dict[Verdict, int]:
        """Returns the number of findings of a gate by verdict, also the verdicts that there are none of."""
        counted = Counter(one.verdict for one in self.findings if one.gate == gate)
        return {verdict: counted[verdict] for verdict in WORST_FIRST}

    @property
    def sentence(self) -> str:
        """Returns the verdict in one line."""
        return text.one_line(last_line(self.run, list(self.judgement.findings), self.judgement.status))

    @property
    def measured(self) -> str:
        """Returns what was measured, and on what machine."""
        return text.one_line(table.heading(self.run))

    @property
    def differences(self) -> list[str] | None:
        """Returns what differs between the two sides of a comparison; None for a run."""
        if self.trusted is None:
            return None
        own = "torch's own"
        a, b = (one.options.implementation or own for one in (self.trusted, self.run))
        layer = [] if a == b else [f"batch norm {a} → {b}"]
        a_s, b_s = (one.options.functions for one in (self.trusted, self.run))
        layer += [
            f"{role} {a_s.get(role, own)} → {b_s.get(role, own)}"
            for role in {**a_s, **b_s}
            if a_s.get(role) != b_s.get(role)
        ]
        apart = comparison.differences(self.trusted.environment, self.run.environment)
        return [*layer, *apart, *kernels.changes(self.trusted, self.run)]

    @property
    def started(self) -> datetime | None:
        """Returns the time at which the run began, in UTC; None if the file does not say it readably."""
        try:
            began = datetime.fromisoformat(self.run.started)
            began = began if began.tzinfo else began.replace(tzinfo=timezone.utc)
            return began.astimezone(timezone.utc)
        except (ValueError, OverflowError):
            return None

    def command(self, finding: Finding) -> str:
        """Returns the command that settles a finding or measures its case again; empty where there is none."""
        return commands.of_finding(self.report, finding) or ""

    def family(self, finding: Finding) -> str:
        """Returns the family of a finding's case: of checks ``numerics/strides``, else the kind of the case."""
        result = self.results.get(finding.case)
        if result is None:
            return f"{finding.gate}, not in this run"
        return cells.family(result) if result.case.kind == "check" else result.case.family


def _importance(finding: Finding) -> tuple[int, float, str, str]:
    return WORST_FIRST.index(finding.verdict), -abs(finding.change or 0.0), finding.gate, finding.case
