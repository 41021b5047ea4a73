"""The forest plot: B against A per case with its interval, beside the margins that decide a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import expm1, log1p

from bnsuite.judge import blocks
from bnsuite.judge.interleaved import FLOOR, GATE, MARGIN
from bnsuite.judge.verdict import WORST_FIRST, Finding
from bnsuite.record.interleaved import PairedCase
from bnsuite.report import text, units
from bnsuite.report.html import svg
from bnsuite.report.html.marks import MARKS, Mark
from bnsuite.report.html.svg import Svg

#: Rows of one plot; the others are in the table of all cases.
MAX_ROWS = 300
#: The axis reaches at least so many margins to either side, and at most so far.
MIN_REACH, MAX_REACH = 2.5 * MARGIN, 0.5
_HEIGHT = 24


@dataclass(frozen=True)
class ForestRow:
    """One case of the plot."""

    case: str
    anchor: str
    mark: Mark
    plot: Svg
    change: str
    interval: str
    launches: str
    smallest: str


@dataclass(frozen=True)
class Forest:
    """The plot: its axis, its rows, and how many cases had no room."""

    axis: Svg
    rows: tuple[ForestRow, ...]
    left_out: int
    #: The margins in words.
    floor: str = units.change(FLOOR)
    margin: str = f"{100 * MARGIN:g} %"
    floor_share: str = f"{100 * FLOOR:g} %"


@dataclass(frozen=True)
class _Scale:
    """The axis: relative changes (log scale) up to `reach` on either side."""

    reach: float

    def place(self, change: float) -> str:
        """Returns a change's place in per cent of the width."""
        return svg.percent(self.share(change))

    def share(self, change: float) -> float:
        """Returns a change's share of the width."""
        return 0.5 + 0.5 * log1p(max(change, -0.99)) / log1p(self.reach)


def forest(findings: Iterable[Finding], anchors: dict[str, str], smallest: dict[str, float]) -> Forest | None:
    """Returns the plot of the cases that were timed, worst first and within a verdict the largest change first."""
    timed = [one for one in findings if one.gate == GATE and None not in (one.change, one.low, one.high)]
    if not timed:
        return None
    timed.sort(key=lambda one: (WORST_FIRST.index(one.verdict), -abs(one.change or 0.0)))
    shown = timed[:MAX_ROWS]
    ends = [abs(bound or 0.0) for one in shown for bound in (one.low, one.high)]
    scale = _Scale(min(MAX_REACH, max(MIN_REACH, 1.05 * max(ends))))
    rows = tuple(_row(one, scale, anchors, smallest) for one in shown)
    return Forest(_axis(scale), rows, len(timed) - len(shown))


def _row(finding: Finding, scale: _Scale, anchors: dict[str, str], smallest: dict[str, float]) -> ForestRow:
    change, low, high = (one or 0.0 for one in (finding.change, finding.low, finding.high))
    mark = MARKS[finding.verdict]
    launches, confirming = (finding.evidence.get(name) for name in ("launches", "launches_to_confirm"))
    found = smallest.get(finding.case)
    return ForestRow(
        case=text.clipped(finding.case, text.MAX_CELL),
        anchor=anchors.get(finding.case, ""),
        mark=mark,
        plot=_interval(scale, change, low, high, mark),
        change=units.change(change),
        interval=f"{units.change(low)} to {units.change(high)}",
        launches=f"{launches}" + (f" + {confirming}" if confirming else ""),
        smallest="–" if found is None else units.change(found),
    )


def _interval(scale: _Scale, change: float, low: float, high: float, mark: Mark) -> Svg:
    middle = _HEIGHT // 2
    ends = [(scale.share(low) < 0, "0%", "‹"), (scale.share(high) > 1, "100%", "›")]
    beyond = [
        svg.words(sign, x=at, y=middle + 4, class_="beyond", text_anchor="start" if at == "0%" else "end")
        for is_beyond, at, sign in ends
        if is_beyond
    ]
    return svg.picture(
        *_bands(scale, _HEIGHT),
        svg.element(
            "line", class_=f"i v-{mark.style}", x1=scale.place(low), x2=scale.place(high), y1=middle, y2=middle
        ),
        svg.element("circle", class_=f"e v-{mark.style}", cx=scale.place(change), cy=middle, r=4),
        *beyond,
        title=f"{units.change(change)}, interval {units.change(low)} to {units.change(high)}",
        class_="forest",
        height=_HEIGHT,
        width="100%",
    )


def _bands(scale: _Scale, height: int) -> list[Svg]:
    """Returns the zone in which PASS is given, no change, and the margin on either side of it."""
    lines = [
        svg.element("line", class_=style, x1=scale.place(at), x2=scale.place(at), y1=0, y2=height)
        for at, style in ((0.0, "zero"), (FLOOR, "floor"), (-FLOOR, "floor"), (MARGIN, "margin"))
    ]
    return [svg.element("rect", class_="zone", x="0%", y=0, width=scale.place(MARGIN), height=height), *lines]


def _axis(scale: _Scale) -> Svg:
    steps: Sequence[float] = (0.01, 0.02, 0.05, 0.1, 0.2)
    step = next((one for one in steps if scale.reach / one <= 3.2), steps[-1])
    places = [n * step for n in range(-int(scale.reach / step), int(scale.reach / step) + 1)]
    places = [one for one in places if 0.03 < scale.share(one) < 0.97]
    labels = [
        svg.words(_percent(one), x=scale.place(one), y=12, text_anchor="middle", class_="at" if one else "o")
        for one in places
    ]
    marks = [svg.element("line", x1=scale.place(one), x2=scale.place(one), y1=16, y2=20) for one in places]
    return svg.picture(
        *labels,
        *marks,
        title=f"axis from {-100 * scale.reach:.0f} to {100 * scale.reach:+.0f} per cent",
        class_="axis",
        height=20,
        width="100%",
    )


def _percent(change: float) -> str:
    return f"{100 * change:+g} %" if change else "0"


def values_plot(compared: PairedCase) -> Svg | None:
    """Returns the picture of a case's launches: the value of each, those made to confirm below the others."""
    seen = [(one.confirms, value) for one in compared.launches if (value := blocks.value(one)) is not None]
    if not seen:
        return None
    changes = [(confirms, expm1(value)) for confirms, value in seen]
    scale = _Scale(min(MAX_REACH, max(MIN_REACH, 1.1 * max(abs(change) for _, change in changes))))
    dots = [
        svg.element("circle", class_="d-c" if confirms else "d", cx=scale.place(change), cy=24 if confirms else 10, r=3)
        for confirms, change in changes
    ]
    low, high = min(change for _, change in changes), max(change for _, change in changes)
    return svg.picture(
        *_bands(scale, 34),
        *dots,
        title=f"{units.count(len(seen), 'launch', 'launches')} from {units.change(low)} to {units.change(high)}",
        class_="values",
        height=34,
        width="100%",
    )
