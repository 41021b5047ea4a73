"""Strips of samples: one upright line per sample on an axis of time, which all launches of a case share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log

from bnsuite.report import units
from bnsuite.report.html import svg
from bnsuite.report.html.svg import Svg

#: Steps along the axis, and letters of height of one strip.
WIDTH, HEIGHT = 500, 12


@dataclass(frozen=True)
class Axis:
    """An axis of time in proportion (log scale), from `low` to `high` seconds."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Returns the share of the way along the axis; a value outside is at its end."""
        if not self.low < self.high:
            return 0.5
        return min(1.0, max(0.0, log(value / self.low) / log(self.high / self.low)))

    @property
    def labels(self) -> tuple[str, str, str]:
        """Its two ends, and its middle."""
        return (
            units.seconds(self.low),
            units.seconds(exp((log(self.low) + log(self.high)) / 2)),
            units.seconds(self.high),
        )


def axis(samples: Iterable[Sequence[float]]) -> Axis:
    """Returns the axis of launches' samples: all but the slowest hundredth, which would press the rest together."""
    ordered = sorted(value for launch in samples for value in launch)
    if not ordered:
        return Axis(1.0, 1.0)
    high = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    middle = ordered[len(ordered) // 2]
    return Axis(min(ordered[0], middle * 0.98), max(high, middle * 1.02))


def thinned(samples: Sequence[float], most: int) -> list[float]:
    """Returns at most `most` samples, evenly through their order: the least, the largest, and between them."""
    ordered = sorted(samples)
    if len(ordered) <= most:
        return ordered
    return [ordered[round(step * (len(ordered) - 1) / (most - 1))] for step in range(most)]


def strip(samples: Sequence[float], middle: float, on: Axis, *, marks: int, style: str = "a") -> Svg:
    """Returns the picture of one launch: its samples, and a longer line at `middle`."""
    shown = [on.place(value) * WIDTH for value in thinned(samples, marks)]
    return svg.element(
        "svg",
        svg.element("path", class_=f"s-{style}", d=svg.ticks(shown, 3, HEIGHT - 6)),
        svg.element("path", class_=f"m-{style}", d=svg.ticks([on.place(middle) * WIDTH], 0, HEIGHT)),
        class_="strip",
        view_box=f"0 0 {WIDTH} {HEIGHT}",
        preserve_aspect_ratio="none",
        aria_hidden="true",  # the numbers stand beside it
    )


def pair_strips(launches: Sequence[tuple[Sequence[float], Sequence[float]]], on: Axis, *, marks: int) -> Svg:
    """Returns the picture of A's and B's blocks, launch by launch: A's above B's."""
    row = 14
    sides = []
    for side, style in ((0, "a"), (1, "b")):
        d = "".join(
            svg.ticks((on.place(one) * WIDTH for one in thinned(launch[side], marks)), number * row + 1 + 6 * side, 5)
            for number, launch in enumerate(launches)
        )
        sides.append(svg.element("path", class_=f"s-{style}", d=d))
    height = row * len(launches)
    shown = units.count(len(launches), "launch", "launches")
    return svg.picture(
        *sides,
        title=f"blocks of A and of B in {shown}, from {on.labels[0]} to {on.labels[2]}",
        class_="pairs",
        view_box=f"0 0 {WIDTH} {height}",
        height=height,
        preserve_aspect_ratio="none",
    )
