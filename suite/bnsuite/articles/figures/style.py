"""The style of all pictures."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from matplotlib import rc_context
from matplotlib.figure import Figure

from bnsuite.record.schema import Run
from bnsuite.report import units

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The files of some pictures: name and content.
Pictures = Iterator[tuple[str, bytes]]

#: Okabe & Ito's palette, which survives every common colour blindness; markers and dashes tell the lines apart in grey.
COLOURS = {
    "bn": "#0072B2",
    "none": "#D55E00",
    "plain": "#D55E00",
    "ln": "#009E73",
    "gn": "#E69F00",
    "in": "#CC79A7",
    "after": "#56B4E9",
    "bn-torch": "#56B4E9",
}
MARKERS = {"bn": "o", "none": "s", "plain": "s", "ln": "^", "gn": "D", "in": "v", "after": "P", "bn-torch": "x"}
NAMES = {
    "bn": "batch norm",
    "none": "no norm",
    "plain": "no norm",
    "ln": "layer norm",
    "gn": "group norm",
    "in": "instance norm",
    "after": "batch norm after the activation",
    "bn-torch": "the same in torch",
}
ORDER = tuple(NAMES)
#: The style of a normalization that is not listed here.
NEUTRAL_COLOUR, NEUTRAL_MARKER = "#666666", "."
SETTINGS = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "bnsuite",
}
DPI = 130


def file_name(*parts: str) -> str:
    """Returns the name of a picture's file, without its ending; labels may hold anything."""
    return re.sub(r"[^A-Za-z0-9._+=-]", "-", "-".join(parts))[:120]


def in_order(norms: Iterable[str]) -> list[str]:
    """Returns normalizations in the order of drawing; those that are not listed here come last."""
    return sorted(norms, key=lambda norm: (ORDER.index(norm) if norm in ORDER else len(ORDER), norm))


def figure(width: float, height: float, title: str) -> Figure:
    """Returns an empty figure of `width` by `height` inches."""
    made = Figure(figsize=(width, height), layout="constrained")
    made.suptitle(title, fontsize=11)
    return made


def save(picture: Figure, name: str) -> Pictures:
    """Yields a picture as SVG and as PNG: the name of the file, and its content."""
    with rc_context(SETTINGS):
        for kind in ("svg", "png"):
            buffer = io.BytesIO()
            picture.savefig(buffer, format=kind, dpi=DPI, metadata={"Date": None} if kind == "svg" else {})
            picture.set_layout_engine("none")  # it is laid out; that takes longer than drawing
            yield f"{name}.{kind}", buffer.getvalue()


def where(run: Run, seeds: Iterable[int]) -> str:
    """Returns a line on the measurements of a picture; `seeds` are the numbers of seeds drawn."""
    torch = run.environment.packages.get("torch", "?")
    counts = sorted(set(seeds))
    many = units.count(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    return f"{run.device}, torch {torch}, {many}"


def quartiles(rows: Sequence[Sequence[float | None]]) -> tuple[list[float], list[float], list[float]]:
    """Returns lower quartile, median and upper quartile of each column; None counts as infinite."""
    import numpy as np

    columns = [[float("inf") if one is None else one for one in column] for column in zip_longest(*rows)]
    lower, middle, upper = np.quantile(columns, (0.25, 0.5, 0.75), axis=1, method="nearest").tolist()
    return lower, middle, upper


def band(axes: Axes, x: Sequence[float], rows: Sequence[Sequence[float | None]], variant: str, label: str = "") -> None:
    """Draws the median over seeds as a line, the middle half of them as a band."""
    lower, middle, upper = quartiles(rows)
    colour = COLOURS.get(variant, NEUTRAL_COLOUR)
    axes.fill_between(x, lower, upper, color=colour, alpha=0.2, linewidth=0)
    axes.plot(
        x,
        middle,
        color=colour,
        marker=MARKERS.get(variant, NEUTRAL_MARKER),
        markersize=3.5,
        linewidth=1.5,
        linestyle="--" if variant in {"none", "plain"} else "-",
        label=label or NAMES.get(variant, variant),
    )
