"""``bnsuite`` alone: measure, judge, print, write."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from bnsuite.cli import confirm
from bnsuite.cli.options import add_measuring, asked_of, data_folder, results_folder
from bnsuite.cli.output import remark
from bnsuite.cli.results import claimed, forget_old, point_latest_to
from bnsuite.record.errors import InputError, one_line

if TYPE_CHECKING:
    from pathlib import Path

    from bnsuite.launch.prepared import PreparedSession
    from bnsuite.record.reference import Reference
    from bnsuite.record.schema import RunOptions

SUMMARY = "measure, judge and print the verdict table"


def add_options(parser: argparse.ArgumentParser) -> None:
    add_measuring(parser)
    parser.add_argument(
        "--impl", metavar="MODULE:FACTORY", help="judge this batch norm in the place of torch's (or FILE.py:FACTORY)"
    )
    confirm.add_option(parser)


def main(options: argparse.Namespace) -> int:
    from bnsuite.cli.conclude import require_baselines

    request = asked_of(options, options.impl)
    confirm.require_environment(options)
    require_baselines(options)
    data = data_folder(options)
    named, by_time = results_folder(options)
    with claimed(named, by_time=by_time) as folder:
        return _run(request, options, data, folder, by_time=by_time)


def _run(request: RunOptions, options: argparse.Namespace, data: Path | None, folder: Path, *, by_time: bool) -> int:
    """Measure into `folder`, judge and print."""
    from bnsuite.cli.conclude import conclude, reference_for
    from bnsuite.judge.gates import judge
    from bnsuite.launch.progress import ProgressCounter
    from bnsuite.launch.session import Session
    from bnsuite.report.progress import listener

    shown, listen = listener(sys.stderr)
    trouble: Exception | None = None
    with Session(request, folder, ProgressCounter(listen), data, notify=remark) as session:
        prepared = session.prepare()
        reference = reference_for(prepared.run, options)  # unusable baselines are found before the measuring
        forget_old(folder)
        prepared.begin()
        try:
            with shown:
                _measure(prepared, reference)
        except KeyboardInterrupt:
            prepared.end("interrupted")
        except Exception as error:  # noqa: BLE001  # whatever it is: what was measured before is shown
            trouble = error
            prepared.end(str(error) if isinstance(error, InputError) else one_line(error))
        run = prepared.run
    if by_time:
        point_latest_to(folder)
    for warning in session.warnings:
        remark(warning)
    findings = judge(run, reference)
    if options.confirm is not None and run.finished:
        findings = confirm.settle(run, reference, findings, options, folder)
    status = conclude(run, reference, options, None if isinstance(trouble, InputError) else folder, findings)
    if trouble is None:
        return status
    if status != 1:  # a regression that was found keeps its status
        raise trouble
    remark(str(trouble) if isinstance(trouble, InputError) else one_line(trouble))
    return status


def _measure(session: PreparedSession, reference: Reference) -> None:
    from bnsuite.judge.gates import judge
    from bnsuite.judge.verdict import Verdict
    from bnsuite.launch.launches import Launches

    session.run_checks()
    session.run_trainings()
    launches = Launches(session)
    run = launches.time()
    slower = {one.case for one in judge(run, reference) if (one.gate, one.verdict) == ("timing", Verdict.REGRESSED)}
    if slower:  # a slowdown is only believed when fresh launches show it again
        launches.confirm(slower)
    session.end()
