"""``bnsuite check``: judge a run again."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bnsuite.cli import confirm
from bnsuite.cli.options import add_baselines, add_data, add_run, add_verdicts, baselines_folder, path
from bnsuite.cli.results import run_alone

if TYPE_CHECKING:
    from bnsuite.record.reference import Reference
    from bnsuite.record.schema import Run

SUMMARY = "judge a run again, against baselines or another run"


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    against = parser.add_mutually_exclusive_group()
    add_baselines(against)
    against.add_argument("--against", type=path, metavar="RUN", help="another run instead of the baselines")
    add_verdicts(parser)
    confirm.add_option(parser)
    add_data(parser)


def main(options: argparse.Namespace) -> int:
    from bnsuite.cli.conclude import conclude
    from bnsuite.judge.gates import judge
    from bnsuite.record import store

    confirm.require_environment(options)
    run = run_alone(options.run)
    reference = _reference(run, options)
    findings = judge(run, reference)
    if options.confirm is None or not confirm.flagged(findings):
        return conclude(run, reference, options, None, findings)
    folder = store.folder_of(options.run)
    settled = confirm.settle(run, reference, findings, options, folder, measured_here=False)
    return conclude(run, reference, options, folder, settled)


def _reference(run: Run, options: argparse.Namespace) -> Reference:
    """What the run is held against: the baselines, or the run that was named."""
    from bnsuite.cli.conclude import reference_for
    from bnsuite.record import pins
    from bnsuite.record.key import machine_key
    from bnsuite.record.reference import from_run

    if options.against is None:
        return reference_for(run, options)
    known = pins.read(baselines_folder(options))
    return from_run(run_alone(options.against), str(options.against), machine_key(run), known)
