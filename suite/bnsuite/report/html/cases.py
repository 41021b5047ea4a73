"""The table of all cases: a row each, with everything that is known of the case inside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bnsuite.judge.host_time import launch_bound
from bnsuite.judge.interleaved import GATE as TIMING
from bnsuite.judge.timing import share_of_limit
from bnsuite.judge.verdict import WORST_FIRST, EvidenceValue, Finding, Verdict, worst
from bnsuite.record.interleaved import PairedCase
from bnsuite.record.pins import Pin
from bnsuite.record.schema import CaseResult, Curve
from bnsuite.report import cells, kernels, text, units
from bnsuite.report.html import checks, launches, news
from bnsuite.report.html.budget import MAX_OBSERVATIONS, Budget
from bnsuite.report.html.checks import Observations
from bnsuite.report.html.curves import SeedPlot, seed_plots
from bnsuite.report.html.launches import NOTHING, Launches, Pairs
from bnsuite.report.html.marks import MARKS, UNJUDGED, Mark
from bnsuite.report.judged import ComparisonReport, Report


@dataclass(frozen=True)
class Cell:
    """One cell of a row; `sort` orders rows where the text does not."""

    text: str
    sort: float | None = None


@dataclass(frozen=True)
class Judged:
    """One finding in words."""

    mark: Mark
    gate: str
    number: str
    interval: str
    reason: str


@dataclass(frozen=True)
class Row:
    """One case."""

    anchor: str
    case: str
    mark: Mark
    cells: tuple[Cell, ...]
    findings: tuple[Judged, ...]
    command: str | None
    #: Facts by name: labels, rule, threads.
    facts: tuple[tuple[str, str], ...] = ()
    launches: Launches | None = None
    pairs: Pairs | None = None
    memory: tuple[tuple[str, ...], ...] = ()
    gpu: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = ()
    observations: Observations | None = None
    seeds: tuple[SeedPlot, ...] = ()
    more_seeds: int = 0
    smallest: str | None = None


@dataclass(frozen=True)
class Page:
    """What rows are made from."""

    report: Report
    budget: Budget
    smallest: Mapping[str, float] = field(default_factory=dict)

    @property
    def results(self) -> Mapping[str, CaseResult]:
        """The judged results by case."""
        run = self.report.judged
        return {one.id: one for one in run.cases}


RUN_HEADERS = ("verdict", "against the baseline", "median", "spread", "% of copy", "memory")
COMPARISON_HEADERS = ("verdict", "B against A", "A", "B", "launches", "memory of B")


def anchors(report: Report) -> dict[str, str]:
    """Returns the name of each case's place in the page, in the order of the rows: worst first."""
    run = report.judged
    verdicts: dict[str, int] = {one.id: len(WORST_FIRST) for one in run.cases}
    for finding in report.judgement.findings:
        rank = WORST_FIRST.index(finding.verdict)
        verdicts[finding.case] = min(rank, verdicts.get(finding.case, len(WORST_FIRST)))
    ordered = sorted(verdicts, key=verdicts.__getitem__)
    return {case: f"c{number}" for number, case in enumerate(ordered, start=1)}


def rows(page: Page, places: Mapping[str, str]) -> Iterator[Row]:
    """Yields the rows in the order of `places`."""
    findings: dict[str, list[Finding]] = {}
    for one in page.report.judgement.findings:
        findings.setdefault(one.case, []).append(one)
    results, again = page.results, news.again(page.report)
    make = _maker(page)
    for case, anchor in places.items():
        some = findings.get(case, [])
        yield make(_Case(case, anchor, some, results.get(case), again(case)))


@dataclass(frozen=True)
class _Case:
    name: str
    anchor: str
    findings: Sequence[Finding]
    result: CaseResult | None
    command: str | None

    @property
    def mark(self) -> Mark:
        return MARKS[worst(self.findings)] if self.findings else UNJUDGED

    @property
    def judged(self) -> tuple[Judged, ...]:
        return tuple(
            Judged(MARKS[one.verdict], one.gate, cells.number(one), cells.interval(one), news.why(one))
            for one in self.findings
        )

    @property
    def verdict(self) -> Cell:
        return Cell(self.mark.word, self.mark.rank)

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """The rule of a check and who reported its defect, and everything that the id says."""
        if self.result is None:
            return ()
        case = self.result.case
        # The id of a check says all of its labels.
        labels = [f"{name} {value}" for name, value in case.labels.items() if value and case.kind != "check"]
        facts = [
            ("rule", case.rule or ""),
            ("reported in", text.listed(case.threads)),
            ("labels", text.listed(labels)),
            ("needs", text.listed(case.lacks)),
            ("launches", kernels.listed(self.result.kernels) if self.result.kernels is not None else ""),
        ]
        return tuple((name, text.clipped(value, text.MAX_SENTENCE)) for name, value in facts if value)


def _maker(page: Page) -> Callable[[_Case], Row]:
    if isinstance(page.report, ComparisonReport):
        times = {one.id: one for one in page.report.times.cases}
        of_a = {one.id: one for one in page.report.a.cases}
        return lambda case: _comparison_row(page, case, of_a.get(case.name), times.get(case.name))
    return lambda case: _run_row(page, case)


def _share(result: CaseResult | None) -> Cell:
    """Returns the share of a copy's bandwidth; a step whose launch takes longer than its work has none."""
    share = share_of_limit(result) if result is not None else None
    if share is None:
        return Cell(cells.LAUNCH_BOUND if result is not None and launch_bound(result) else NOTHING)
    return Cell(f"{100 * share:.0f} %", share)


def _run_row(page: Page, case: _Case) -> Row:
    report, result = page.report, case.result
    assert not isinstance(report, ComparisonReport)
    reference = report.reference
    middle, spread = _time(result)
    shown = (
        case.verdict,
        _change(case, cells.against_baseline),
        middle,
        spread,
        _share(result),
        _memory(result),
    )
    if result is None:
        return Row(case.anchor, case.name, case.mark, shown, case.judged, case.command)
    stored = reference.convergence.get(result.id) if reference is not None else None
    before = stored.curves if stored is not None and stored.version == result.case.version else ()
    seeds, more = _seeds(result, before, page.budget)
    pins = reference.pins if reference is not None else ()
    return Row(
        case.anchor,
        case.name,
        case.mark,
        shown,
        case.judged,
        case.command,
        facts=case.facts,
        launches=launches.of_run(result, reference, page.budget),
        memory=tuple(launches.memory([result], reference)),
        observations=_observations(page, case, result, checks.accepted(reference, result), pins),
        seeds=seeds,
        more_seeds=more,
    )


def _comparison_row(page: Page, case: _Case, of_a: CaseResult | None, compared: PairedCase | None) -> Row:
    report, result = page.report, case.result
    assert isinstance(report, ComparisonReport)
    found = page.smallest.get(case.name)
    timing = next((one for one in case.findings if one.gate == TIMING), None)
    shown = (
        case.verdict,
        _change(case, cells.against_environment),
        _time(of_a)[0],
        _time(result)[0],
        _launches(timing.evidence if timing is not None else {}),
        _memory(result),
    )
    if result is None:
        return Row(case.anchor, case.name, case.mark, shown, case.judged, case.command)
    seeds, more = _seeds(result, of_a.curves if of_a is not None else (), page.budget)
    gpu = [(side, tuple(launches.gpu_rows(one))) for side, one in (("A", of_a), ("B", result))]
    return Row(
        case.anchor,
        case.name,
        case.mark,
        shown,
        case.judged,
        case.command,
        facts=case.facts,
        pairs=launches.of_comparison(compared, page.budget),
        memory=tuple(launches.memory([of_a, result], None)),
        gpu=tuple(one for one in gpu if one[1]),
        observations=_observations(page, case, result, checks.of_side(of_a)),
        seeds=seeds,
        more_seeds=more,
        smallest=None if found is None else units.change(found),
    )


def _seeds(result: CaseResult, before: Sequence[Curve], budget: Budget) -> tuple[tuple[SeedPlot, ...], int]:
    plots = tuple(seed_plots(result.curves, before, budget.seeds))
    return plots, len(result.curves) - len(plots)


def _observations(
    page: Page, case: _Case, result: CaseResult, values: Mapping[str, float | str], pins: tuple[Pin, ...] = ()
) -> Observations | None:
    """Returns the observations of a check; more of them where it is not PASS."""
    run = page.report.judged
    most = page.budget.observations if case.mark is MARKS[Verdict.PASS] else MAX_OBSERVATIONS
    return checks.observations(run, result, checks.Beside(values, pins, checks.named(case.findings)), most)


def _time(result: CaseResult | None) -> tuple[Cell, Cell]:
    """Returns the time of a step and its spread."""
    middle, spread = cells.time(result)
    return Cell(middle, cells.step_s(result)), Cell(spread, cells.spread_of(result))


def _memory(result: CaseResult | None) -> Cell:
    return Cell(cells.memory(result), cells.peak_bytes(result))


def _change(case: _Case, words_of: Callable[[list[Finding]], str]) -> Cell:
    """Returns the changes of all gates in words, sorted by the largest slowdown or growth."""
    if not case.findings:
        return Cell(NOTHING)
    if cells.is_counted(case.findings[0]):
        return _checked(case.findings[0].evidence)
    changes = [one.change for one in case.findings if one.change is not None]
    return Cell(words_of(list(case.findings)), max(changes, key=abs) if changes else None)


def _checked(evidence: Mapping[str, EvidenceValue]) -> Cell:
    """Returns the number of observations, those of them with a pinned deviation, and how near one is to its limit."""
    count, pinned, nearest = (evidence.get(name) for name in ("observations", "pinned", "nearest_to_a_limit"))
    if not isinstance(count, int):
        return Cell(NOTHING)
    known = f", {pinned} pinned" if pinned else ""
    near = isinstance(nearest, int | float)
    share = (
        f", {100 * float(nearest):.0f} % of limit" if near and nearest is not None and 0 <= float(nearest) < 1e4 else ""
    )
    return Cell(
        f"{units.count(count, 'observation')}{known}{share}", float(nearest) if near and nearest is not None else None
    )


def _launches(evidence: Mapping[str, EvidenceValue]) -> Cell:
    screening, confirming = evidence.get("launches"), evidence.get("launches_to_confirm")
    if not isinstance(screening, int):
        return Cell(NOTHING)
    more = confirming if isinstance(confirming, int) else 0
    return Cell(f"{screening}" + (f" + {more}" if more else ""), screening + more)
