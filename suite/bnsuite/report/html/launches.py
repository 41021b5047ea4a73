"""The launches of a case: samples, controls, memory, and the state of the GPU beside each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from bnsuite.judge.timing import share_of_limit
from bnsuite.record.gpu import GpuWatch
from bnsuite.record.interleaved import PairedCase
from bnsuite.record.lines import MEMORY
from bnsuite.record.reference import Reference, TimingReference
from bnsuite.record.schema import CaseResult, Timing
from bnsuite.report import cells, text, units
from bnsuite.report.html import forest, strips, svg
from bnsuite.report.html.budget import Budget
from bnsuite.report.html.strips import Axis
from bnsuite.report.html.svg import Svg

NOTHING = "–"


@dataclass(frozen=True)
class LaunchRow:
    """One launch, or all accepted ones together."""

    name: str
    plot: Svg
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Launches:
    """All launches of a case, as rows or as one picture."""

    headers: tuple[str, ...]
    axis: Axis
    rows: tuple[LaunchRow, ...] = ()
    picture: Svg | None = None
    #: The medians in words, where there are no rows.
    medians: str = ""
    share: str | None = None


@dataclass(frozen=True)
class Pairs:
    """The launches of a comparison's case."""

    values: Svg | None
    picture: Svg
    axis: Axis
    launches: int
    disturbed: int


def of_run(result: CaseResult, reference: Reference | None, budget: Budget) -> Launches | None:
    """Returns the launches of a case, the accepted ones first where they are known; None where it has none."""
    if not result.timings:
        return None
    stored = reference.timing.get(result.id) if reference is not None else None
    if stored is not None and stored.version != result.case.version:
        stored = None
    accepted = [one.median_s for run in stored.runs for one in run] if stored else []
    on = strips.axis([*(one.samples_s for one in result.timings), *([accepted] if accepted else [])])
    share = share_of_limit(result)
    shown = None if share is None else f"{100 * share:.0f} %"
    if not budget.rows and not any(one.disturbed for one in result.timings):
        medians = [median(one.samples_s) for one in result.timings]
        return Launches(
            headers=(),
            axis=on,
            picture=_one_picture(result.timings, on, budget.marks),
            medians=text.listed([units.seconds(one) for one in medians]),
            share=shown,
        )
    watched = any(one.gpu is not None for one in result.timings)
    controls = sorted({name for one in result.timings for name in one.controls_s})
    headers = ("median", "spread", *controls, "core share", "cores busy", *(_GPU_HEADERS if watched else ()), "notes")
    rows = []
    for number, one in enumerate(result.timings, start=1):
        middle, style = median(one.samples_s), "bad" if one.disturbed else "b"
        plot = strips.strip(one.samples_s, middle, on, marks=budget.marks, style=style)
        rows.append(LaunchRow(str(number), plot, _launch(one, middle, controls, watched=watched)))
    if stored is not None:
        plot = strips.strip(accepted, median(accepted), on, marks=budget.marks, style="a")
        rows.insert(0, LaunchRow("baseline", plot, _accepted(stored, accepted, controls, len(headers))))
    return Launches(headers=headers, axis=on, rows=tuple(rows), share=shown)


def _launch(timing: Timing, middle: float, controls: Sequence[str], *, watched: bool) -> tuple[str, ...]:
    notes = [*(["confirms"] if timing.confirms else []), *([timing.disturbed] if timing.disturbed else [])]
    cells = [units.seconds(middle), _spread(timing.samples_s)]
    cells += [
        units.seconds(median(timing.controls_s[one])) if one in timing.controls_s else NOTHING for one in controls
    ]
    cells.append(NOTHING if timing.cpu_share is None else f"{100 * timing.cpu_share:.0f} %")
    cells.append(NOTHING if timing.cores_busy is None else f"{timing.cores_busy:.2f}")
    if watched:
        cells += gpu_cells(timing.gpu)
    return (*cells, text.clipped("; ".join(notes)))


def _accepted(stored: TimingReference, values: list[float], controls: Sequence[str], width: int) -> tuple[str, ...]:
    """Returns the cells of the accepted launches, `width` of them."""
    launches = [one for run in stored.runs for one in run]
    cells = [units.seconds(median(values)), _spread(values)]
    for name in controls:
        known = [one.controls_s[name] for one in launches if name in one.controls_s]
        cells.append(units.seconds(median(known)) if known else NOTHING)
    runs = units.count(len(stored.runs), "run")
    release = f", torch {text.clipped(stored.torch)}" if stored.torch else ""
    note = f"medians of {units.count(len(values), 'launch', 'launches')} in {runs}{release}"
    cells += [NOTHING] * (width - len(cells) - 1)
    return (*cells, note)


def _spread(samples: Sequence[float]) -> str:
    share = cells.spread(samples, median(samples))
    return NOTHING if share is None else units.spread(share)


def _one_picture(timings: Sequence[Timing], on: Axis, marks: int) -> Svg:
    row = 8
    paths = "".join(
        svg.ticks((on.place(one) * strips.WIDTH for one in strips.thinned(timing.samples_s, marks)), n * row + 1, 6)
        for n, timing in enumerate(timings)
    )
    return svg.picture(
        svg.element("path", class_="s-b", d=paths),
        title=f"samples of {units.count(len(timings), 'launch', 'launches')}",
        class_="pairs",
        view_box=f"0 0 {strips.WIDTH} {row * len(timings)}",
        height=row * len(timings),
        preserve_aspect_ratio="none",
    )


def of_comparison(compared: PairedCase | None, budget: Budget) -> Pairs | None:
    """Returns the launches of two sides; None where there are none."""
    if compared is None or not compared.launches:
        return None
    sides = [(one.a_s, one.b_s) for one in compared.launches]
    on = strips.axis([side for launch in sides for side in launch])
    return Pairs(
        values=forest.values_plot(compared),
        picture=strips.pair_strips(sides, on, marks=budget.marks),
        axis=on,
        launches=len(compared.launches),
        disturbed=sum(one.disturbed is not None for one in compared.launches),
    )


_GPU_HEADERS = ("SM clock", "temperature", "power", "energy", "clocks held by")


def gpu_cells(gpu: GpuWatch | None) -> list[str]:
    """Returns clock, temperature, power, energy and throttling of a GPU during a launch."""
    if gpu is None:
        return [NOTHING] * len(_GPU_HEADERS)
    clocks = NOTHING if gpu.sm_clock_mhz_min is None else f"{gpu.sm_clock_mhz_min} to {gpu.sm_clock_mhz_max} MHz"
    if gpu.sm_clock_mhz_median is not None:
        clocks += f", median under load {gpu.sm_clock_mhz_median:.0f}"
    counted = {name: seconds for name, seconds in (gpu.throttle_s or {}).items() if seconds > 0}
    seen = [one for one in gpu.reasons or () if one != "gpu_idle" and one not in counted]
    held = [*(f"{name} for {units.seconds(seconds)}" for name, seconds in sorted(counted.items())), *seen]
    return [
        clocks,
        NOTHING if gpu.temperature_c_max is None else f"{gpu.temperature_c_max} °C",
        NOTHING if gpu.power_w_max is None else f"{gpu.power_w_max:.0f} W",
        NOTHING if gpu.energy_j is None else f"{gpu.energy_j:.3g} J",
        text.listed(held) or "nothing",
    ]


def gpu_rows(result: CaseResult | None) -> list[tuple[str, ...]]:
    """Returns the state of the GPU launch by launch; no rows where none was watched."""
    timings = result.timings if result is not None else ()
    watched = [(n, one.gpu) for n, one in enumerate(timings, start=1) if one.gpu is not None]
    return [(str(n), *gpu_cells(gpu)) for n, gpu in watched]


GPU_HEADERS = ("launch", *_GPU_HEADERS)

_MEMORY = (
    ("allocated, peak of a step", "allocated_peak_bytes"),
    ("reserved by torch, peak", "reserved_peak_bytes"),
    ("process (RSS), peak", "rss_peak_bytes"),
    ("in use on the GPU", "gpu_used_bytes"),
)


def memory(sides: Sequence[CaseResult | None], reference: Reference | None) -> list[tuple[str, ...]]:
    """Returns the kinds of memory as rows: a name, and the bytes of each side; those of the baseline come first."""
    rows = []
    stored = None
    if reference is not None and (last := sides[-1]) is not None:
        stored = MEMORY.lines_of(reference.lines).get(last.id)
        stored = stored if stored is not None and stored.version == last.case.version else None
    for name, field in _MEMORY:
        values = [_range(one, field) for one in sides]
        if all(one == NOTHING for one in values):
            continue
        before = [] if reference is None else [_bytes(getattr(stored, field, None))]
        rows.append((name, *before, *values))
    return rows


def _range(result: CaseResult | None, field: str) -> str:
    """Returns the bytes over all launches, as one number where they agree."""
    known = _known(getattr(one.memory, field) for one in (result.timings if result is not None else ()))
    if not known:
        return NOTHING
    low, high = units.nbytes(min(known)), units.nbytes(max(known))
    return low if low == high else f"{low} to {high}"


def _known(values: Iterable[int | None]) -> list[int]:
    return [one for one in values if one is not None]


def _bytes(value: int | None) -> str:
    return NOTHING if value is None else units.nbytes(value)
