"""``bnsuite --device cuda:all``: every GPU of a node, each a run of its own, and the one unlike its peers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bnsuite.cli.options import MeasuringOptions, ShowOptions
from bnsuite.cli.output import progress, remark, say, say_painted, screen, status_of
from bnsuite.record.folder import REPORT, ResultsFolder

if TYPE_CHECKING:
    from bnsuite.experiments.node import NodeRequest, NodeResult
    from bnsuite.experiments.run import RunResult
    from bnsuite.judge.node import NodeReport
    from bnsuite.launch.process.messages import FoundDevice
    from bnsuite.record.reference import Reference
    from bnsuite.record.schema import Run, RunOptions


def devices(environment: str) -> Sequence[FoundDevice]:
    """Every GPU that `environment` sees; InputError if there is none."""
    from bnsuite.launch.environments import parse
    from bnsuite.launch.queries import ask_devices

    return ask_devices(parse(environment))


def command(
    given: MeasuringOptions, options: RunOptions, found: Sequence[FoundDevice], *, strict: bool, show: ShowOptions
) -> int:
    """Measure and judge the devices that were found; returns the exit status."""
    from bnsuite import doctor
    from bnsuite.cli.verdicts import reference_for
    from bnsuite.experiments.node import DeviceRequest, NodeRequest

    with given.folder.claimed() as folder:
        host = doctor.taken(doctor.DoctorRequest(found[0].name, given.threads, folder.path))
        request = NodeRequest(
            tuple(DeviceRequest(one.name, one.model, one.uuid) for one in found),
            options,
            folder,
            given.data,
            partial(reference_for, baselines=given.baselines),
            no_baselines,
            host,
            strict=strict,
        )
        result = measured(request, stages=not show.quiet)
        folder.point_latest_here()
        _write(result, folder, strict=strict)
    show_node(result.report, show)
    if result.error is not None:
        remark(status_of(result.error)[1])
    return int(result.report.status)


def measured(request: NodeRequest, *, stages: bool) -> NodeResult:
    """Measure a node with its progress on stderr."""
    from bnsuite.experiments.node import measure

    with progress(stages=stages) as notify:
        result = measure(request, notify)
    for warning in result.warnings:
        remark(warning)
    return result


def no_baselines(_: Run) -> Reference:
    """Baselines are of devices measured alone: what is measured beside others is held against its peers only."""
    from bnsuite.record import baselines as stored

    return stored.without_folder(Path("together"))


def show_node(report: NodeReport, show: ShowOptions) -> None:
    """Print the verdict on a node."""
    from bnsuite.report import node

    if show.as_json:
        say(report.model_dump_json(by_alias=True, indent=1))
    elif show.quiet:
        say(node.sentence(report))
    else:
        say_painted(node.terminal(report, screen(show.color)))


def _write(result: NodeResult, folder: ResultsFolder, *, strict: bool) -> None:
    """Write the reports of the node and of each of its runs."""
    from bnsuite.record.files import write_atomically
    from bnsuite.report import node

    for one in (*result.alone, *result.together):
        _write_run(one, strict=strict)
    write_atomically(folder.path / REPORT, node.markdown(result.report))


def _write_run(one: RunResult, *, strict: bool) -> None:
    from bnsuite.cli.verdicts import claims_of, judged
    from bnsuite.report import writers
    from bnsuite.report.judged import RunReport

    judgement = judged(one.run, one.findings, one.reference, strict=strict)
    report = RunReport(one.run, judgement, folder=one.folder.path, reference=one.reference)
    report = replace(report, sections=claims_of(one.run, one.folder.path))
    for problem in writers.write(report, one.folder.path):
        remark(str(problem))
