"""Steps of several ranks beside those of one: scaling efficiency, and the bus bandwidth of their all-reduces.

Efficiency is the time of one rank over that of N, each with the work of one. Bus bandwidth is that of nccl-tests
(doc/PERFORMANCE.md there): bytes over time, times 2 (N - 1) / N for an all-reduce.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, log
from statistics import median

from bnsuite.record.schema import CaseResult, Run
from bnsuite.report import tabular, units
from bnsuite.report.section import Section, SectionTable

FAMILY, ALL_REDUCE, PARTNER = "distributed", "all-reduce", "partner"

STEPS = ("step", "subject", "ranks", "launches", "median", "range of launches", "efficiency", "its all-reduce")
EXCHANGES = ("payload", "ranks", "launches", "median", "range of launches", "bus bandwidth")


def section(run: Run) -> Section | None:
    """Returns the tables of a run that timed steps of several ranks; None for other runs."""
    timed = [one for one in run.cases if one.case.family == FAMILY and one.timings]
    steps = [one for one in timed if one.case.labels["program"] != ALL_REDUCE]
    exchanges = [one for one in timed if one.case.labels["program"] == ALL_REDUCE]
    if not any(one.case.ranks > 1 for one in timed):
        return None
    shared = run.options.oversubscribe
    tables = [
        SectionTable(
            "A step of N ranks, each with the work of one.",
            "Rank 0 times it to the end of the slowest rank. Efficiency is the time of one rank over that of N.",
            STEPS,
            (),
            [_step(run, one) for one in steps],
        ),
        SectionTable(
            "The exchange alone.",
            "Bus bandwidth as nccl-tests defines it: bytes over time, times 2 (N - 1) / N.",
            EXCHANGES,
            (),
            [_exchange(one) for one in exchanges],
        ),
    ]
    note = "Ranks shared cores (--oversubscribe): these times say nothing of scaling." if shared else ""
    return Section("Several ranks", tuple(one for one in tables if one.rows), note)


def _step(run: Run, one: CaseResult) -> list[str]:
    labels = one.case.labels
    return [
        labels["program"],
        labels["subject"],
        labels["ranks"],
        str(len(_launches(one))),
        *_times(_launches(one)),
        _efficiency(run, one),
        _control(one),
    ]


def _exchange(one: CaseResult) -> list[str]:
    launches, ranks, nbytes = _launches(one), one.case.ranks, int(one.case.labels["payload_bytes"])
    return [
        f"{one.case.labels['subject']}, {units.nbytes(nbytes)}",
        str(ranks),
        str(len(launches)),
        *_times(launches),
        bandwidth(nbytes, ranks, median(launches)),
    ]


def bandwidth(nbytes: int, ranks: int, seconds: float) -> str:
    """Returns the bus bandwidth of an all-reduce in GB/s, as nccl-tests prints it."""
    return f"{nbytes / seconds * 2 * (ranks - 1) / ranks / 1e9:.3g} GB/s"


def _launches(one: CaseResult) -> list[float]:
    """Returns the median step of each launch: of all, for want of a sign that a rank was disturbed."""
    return [median(launch.samples_s) for launch in one.timings]


def _times(launches: list[float]) -> Iterator[str]:
    yield units.seconds(median(launches))
    yield f"{units.seconds(min(launches))} to {units.seconds(max(launches))}"


def _efficiency(run: Run, one: CaseResult) -> str:
    """Returns the efficiency by the ratio that was timed in one process, where it was; else nothing."""
    name = f"ratio/scaling/{one.id}"
    ratio = next((other for other in run.cases if other.id == name and other.timings), None)
    if ratio is None:
        return "1" if one.case.ranks == 1 else tabular.NOTHING
    values = [
        median(log(here / there) for here, there in zip(launch.samples_s, launch.controls_s[PARTNER], strict=True))
        for launch in ratio.timings
    ]
    low, high = exp(-max(values)), exp(-min(values))
    return f"{exp(-median(values)):.2f} ({low:.2f} to {high:.2f})"


def _control(one: CaseResult) -> str:
    """Returns the median all-reduce of a step's payload, and its bus bandwidth."""
    times = [median(launch.controls_s[ALL_REDUCE]) for launch in one.timings if ALL_REDUCE in launch.controls_s]
    if not times:
        return tabular.NOTHING
    nbytes = int(one.case.labels["payload_bytes"])
    return f"{units.seconds(median(times))}, {bandwidth(nbytes, one.case.ranks, median(times))}"
