"""The verdict on a node's devices: a line for each, and the cases in which one is unlike its peers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bnsuite.judge.node import NodeDevice, NodeReport, NodeRow
from bnsuite.judge.verdict import Verdict
from bnsuite.record import store
from bnsuite.record.files import read_text
from bnsuite.record.folder import NODE
from bnsuite.report import tabular, text, units
from bnsuite.report.screen import BOLD, Screen

HEADERS = ("device", "model", "UUID", "cases", "median of peers", "most unlike", "all at once", "own run")
ROW_HEADERS = ("device", "pass", "case", "median", "of its peers", "interval", "margin", "verdict")
#: Cases that are shown of the devices that are unlike their peers.
MAX_ROWS = 20


def load(folder: Path) -> NodeReport:
    """Returns the verdict on a node in `folder`; InputError if it can't be read."""
    path = folder / NODE
    return store.parse(NodeReport, read_text(path, "verdict on a node"), path)


def terminal(report: NodeReport, screen: Screen) -> str:
    """Returns the table of the devices, the cases that tell, and the last line."""
    blocks = [tabular.terminal(_devices(report), HEADERS, screen=screen, optional=("UUID", "model"))]
    if telling := _telling(report):
        blocks.append(tabular.terminal(telling, ROW_HEADERS, screen=screen, optional=("interval", "margin")))
    blocks.append("\n".join(screen.paint(line, BOLD) for line in screen.wrap(text.one_line(sentence(report)))))
    return "\n\n".join(blocks)


def markdown(report: NodeReport) -> str:
    """Returns the same as Markdown: ``report.md`` in the node's folder."""
    blocks = ["# bnsuite on every GPU of a node", tabular.markdown(_devices(report), HEADERS)]
    if telling := _telling(report):
        blocks.append(tabular.markdown(telling, ROW_HEADERS))
    rule = (
        "The ratio is the time of a device over the median of its peers'; the interval is from launches. "
        f"A device is named where no more than {100 * report.alpha:g} % of sound nodes would name one."
    )
    blocks += [rule, f"**{text.markdown(sentence(report))}**"]
    return "\n\n".join(blocks) + "\n"


def sentence(report: NodeReport) -> str:
    """Returns the verdict in one line, with the exit status."""
    return f"{'; '.join(_verdict(report))} (exit status {report.status.value})"


def _verdict(report: NodeReport) -> Iterator[str]:
    if not report.finished:
        yield "not measured to its end"
    for name in report.unlike:
        odd = [one for one in report.rows if one.device == name and one.verdict is not Verdict.PASS]
        slower = sum(one.verdict is Verdict.REGRESSED for one in odd)
        faster = sum(one.verdict is Verdict.IMPROVED for one in odd)
        how = " and ".join(
            f"{word} in {units.count(count, 'case')}"
            for word, count in (("slower", slower), ("faster", faster))
            if count
        )
        yield f"{_named(report, name)} is unlike its {'peers' if len(report.devices) > 2 else 'only peer'}: {how}"
    for one in report.devices:
        if one.trouble is not None:
            compared = any(row.device == one.device for row in report.rows)
            what = " is not measured" if one.alone is None else "" if compared else " is not compared"
            yield f"{one.device}{what}: {one.trouble}"
    if not report.unlike and report.rows:
        undecided = sum(one.verdict is Verdict.INCONCLUSIVE for one in report.rows)
        rest = f", {undecided} of {len(report.rows)} comparisons undecided" if undecided else ""
        yield f"no device is unlike its peers{rest}"
    elif report.finished and not report.rows and not any(one.trouble for one in report.devices):
        yield "no case is timed on one device, so nothing is compared"
    for one in report.devices:
        if one.status and one.alone is not None:
            yield f"the run of {one.device} ended with status {one.status.value}"


def _named(report: NodeReport, name: str) -> str:
    uuid = next((one.uuid for one in report.devices if one.device == name), None)
    return f"{name} ({uuid})" if uuid else name


def _devices(report: NodeReport) -> list[list[str]]:
    return [_device(report, one) for one in report.devices]


def _device(report: NodeReport, one: NodeDevice) -> list[str]:
    mine = [row for row in report.rows if row.device == one.device]
    alone = sorted(row.change for row in mine if row.phase == "alone")
    most = max((row.change for row in mine), key=abs, default=None)
    return [
        one.device,
        one.model,
        one.uuid or tabular.NOTHING,
        str(len(alone)),
        units.change(alone[len(alone) // 2]) if alone else tabular.NOTHING,
        units.change(most) if most is not None else tabular.NOTHING,
        _slowdown(one),
        str(one.status.value),
    ]


def _slowdown(one: NodeDevice) -> str:
    if one.slowdown is None:
        return tabular.NOTHING
    return (
        f"{units.change(one.slowdown.change)} ({units.change(one.slowdown.low)} to {units.change(one.slowdown.high)})"
    )


def _telling(report: NodeReport) -> list[list[str]]:
    odd = [one for one in report.rows if one.verdict in {Verdict.REGRESSED, Verdict.IMPROVED}]
    return [_row(one) for one in sorted(odd, key=lambda one: -abs(one.change))[:MAX_ROWS]]


def _row(one: NodeRow) -> list[str]:
    return [
        one.device,
        one.phase,
        one.case,
        units.seconds(one.median_s),
        units.change(one.change),
        f"{units.change(one.low)} to {units.change(one.high)}",
        f"± {100 * one.margin:.0f} %",
        one.verdict.value,
    ]
