"""The report of a self-test: false alarms, detected faults, and the time they take."""

from __future__ import annotations

import shlex

from bnsuite.judge.selftest import Duty, End, Missing, Rate, Repetition, SelftestResult, counts
from bnsuite.judge.statistics import share_interval
from bnsuite.judge.verdict import ExitStatus
from bnsuite.record.selftest import Where
from bnsuite.report import tabular, text, units
from bnsuite.report.screen import Screen
from bnsuite.report.tabular import NOTHING

HEADERS = (
    *("injected", "in", "trials", "alarms", "95 % interval", "change", "INCONCLUSIVE"),
    *("verdicts", "launches", "time per case", "must be", "is"),
)
ALIGN = (
    *("left", "left", "right", "right", "right", "right", "right"),
    *("left", "right", "right", "left", "left"),
)

#: Columns that a narrow screen does without, the first one first.
OPTIONAL = ("INCONCLUSIVE", "launches", "time per case", "must be", "95 % interval", "change", "is")


def terminal(shown: SelftestResult, screen: Screen) -> str:
    """Returns the report as plain text."""
    table = tabular.terminal(_rows(shown), HEADERS, ALIGN, screen=screen, optional=OPTIONAL)
    heading = [piece for line in _heading(shown) for piece in screen.wrap(text.one_line(line), hanging=2)]
    notes = [piece for line in _notes(shown) for piece in screen.wrap(text.one_line(line), hanging=2)]
    return "\n".join([*heading, "", table, "", *notes, "", *screen.wrap(_summary(shown), hanging=2)])


def markdown(shown: SelftestResult) -> str:
    """Returns the same as Markdown."""
    heading = [f"- {text.markdown(line)}" for line in _heading(shown)]
    lines = ["# bnsuite selftest", "", *heading, "", tabular.markdown(_rows(shown), HEADERS, ALIGN), ""]
    lines += [f"- {text.markdown(line)}" for line in _notes(shown)]
    lines += ["", f"**{_summary(shown)}**", ""]
    return "\n".join(
        [*lines, *(["Again:", "", *(f"    {_command(one)}" for one in shown.again), ""] if shown.again else [])]
    )


def _heading(shown: SelftestResult) -> list[str]:
    trials = shown.trials
    if not trials:
        return ["bnsuite selftest"]
    days = sorted(one.started[:10] for one in trials)
    versions = {
        "bnsuite": [f"{one.bnsuite} ({one.revision})" if one.revision else one.bnsuite for one in trials],
        "torch": [one.where.torch for one in trials],
        "Python": [one.python for one in trials],
    }
    return [
        " · ".join(f"{name} {', '.join(dict.fromkeys(found))}" for name, found in versions.items()),
        *_places(shown),
        f"measured {days[0]}" + (f" to {days[-1]}" if days[-1] != days[0] else ""),
    ]


def _places(shown: SelftestResult) -> list[str]:
    """Returns the places, numbered if there are several; the same one may have been measured by several methods."""
    places = list(dict.fromkeys(one.where for one in shown.trials))
    if len(places) == 1:
        return [_place(places[0])]
    return [f"({number}) {_place(one)} · method {one.method}" for number, one in enumerate(places, start=1)]


def _place(where: Where) -> str:
    threads = units.count(where.threads, "thread")
    beside = ", beside a busy process" if where.busy else ""
    own = " · " + ", ".join(where.workloads) if where.workloads else ""
    return f"{where.machine} · {where.device} · {threads} · {where.profile} · torch {where.torch}{own}{beside}"


def _rows(shown: SelftestResult) -> list[list[str]]:
    places = list(dict.fromkeys(one.where for one in shown.rates))
    return [_row(one, places.index(one.where) + 1 if len(places) > 1 else None) for one in shown.rates]


def _row(rate: Rate, place: int | None) -> list[str]:
    """Returns a row of the table, with the number of its place in the heading if there are several."""
    low, high = rate.interval
    kind = rate.kind if place is None else f"{rate.kind} ({place})"
    return [
        kind,
        rate.variant or NOTHING,
        f"{rate.of}",
        f"{rate.hits} ({100 * rate.hits / rate.of:.0f} %)",
        f"{_percent(low)} to {_percent(high)} %",
        NOTHING if rate.change is None else units.change(rate.change),
        f"{100 * rate.undecided:.0f} %",
        counts(rate.verdicts),
        f"{rate.launches:g}",
        units.duration(rate.case_s),
        rate.duty.value,
        NOTHING if rate.duty is Duty.NONE else _ended(rate),
    ]


def _ended(rate: Rate) -> str:
    if set(rate.ends) == {End.AS_REQUIRED}:
        return "so"
    worst = (End.AGAINST_DUTY, End.NOT_MEASURED)
    return ", ".join(f"{one.value} in {rate.ends[one]}" for one in worst if rate.ends[one])


def _percent(share: float) -> str:
    return f"{100 * share:.2g}" if share < 0.1 else f"{100 * share:.0f}"


def _notes(shown: SelftestResult) -> list[str]:
    lines = ["alarms: trials in which a gate gave REGRESSED; for an injected fault, the gate that must detect it"]
    for one in shown.resampled:
        low, high = share_interval(one.alarms, one.runs)
        lines.append(
            f"resampled from {one.launches} launches with nothing changed ({_place(one.where)}): "
            f"{one.alarms} of {one.runs} runs of {one.cases} cases raise an alarm, "
            f"{100 * one.alarms / one.runs:.2f} % ({_percent(low)} to {_percent(high)} %, were these all launches "
            "there are)"
        )
    return [*lines, *map(_missing, shown.missing)]


def _summary(shown: SelftestResult) -> str:
    head = {
        ExitStatus.FINE: "every kind ended as required",
        ExitStatus.REGRESSED: "A GATE FAILED IN ITS DUTY",
    }.get(shown.status, "not measured as asked")
    took = units.duration(sum(one.wall_s for one in shown.trials))
    count = units.count(len(shown.trials), "trial")
    return f"{head}: {count}, {took} (exit status {shown.status.value})"


def _missing(one: Missing) -> str:
    """Returns a line such as "holds: 1 comparison is missing (interrupted)"."""
    if one.folder is not None:
        return f"{one.kind}, {one.variant}: ended by {one.reason}; its files are in {one.folder}"
    return (
        f"{one.kind}: {units.count(one.count, 'comparison')} {'is' if one.count == 1 else 'are'} missing ({one.reason})"
    )


def _command(one: Repetition) -> str:
    where = one.where
    words = [f"--trials {one.trials}", f"--kind {','.join(one.kinds)}", f"--device {where.device}"]
    words += [f"--profile {where.profile}", f"--threads {where.threads}"]
    words += [f"--workload {shlex.quote(name)}" for name in where.workloads]
    return " ".join(["bnsuite selftest", *words, *(["--busy"] if where.busy else []), "--out DIR"])
