"""``bnsuite`` alone: measure, judge, print, write."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from bnsuite.cli.options import LATEST, RESULTS, add_baselines, add_select, add_verdicts, baselines_folder, positive
from bnsuite.launch.plan import PLANS, asked
from bnsuite.record.errors import InputError

if TYPE_CHECKING:
    from bnsuite.launch.session import Session

SUMMARY = "measure, judge and print the verdict table"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto (default), cpu, cuda or cuda:N")
    parser.add_argument(
        "--profile", default="quick", choices=tuple(PLANS), help="how much is measured (default: quick)"
    )
    add_select(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"where results go (default: {RESULTS}/TIME)")
    parser.add_argument("--threads", type=positive(int), default=1, metavar="N", help="CPU threads (default: 1)")
    parser.add_argument(
        "--timeout", type=positive(float), default=120.0, metavar="S", help="seconds a case may take (default: 120)"
    )
    add_baselines(parser)
    add_verdicts(parser)


def main(options: argparse.Namespace) -> int:
    from bnsuite.cli.conclude import conclude, reference_for
    from bnsuite.launch.session import Session
    from bnsuite.record.files import make_folder
    from bnsuite.report.progress import listener

    request = asked(
        device=options.device,
        profile=options.profile,
        select=options.k,
        threads=options.threads,
        timeout_s=options.timeout,
    )
    if options.baselines is not None and not baselines_folder(options).is_dir():
        raise InputError(f"--baselines {options.baselines}: there is no such folder; `bnsuite accept` makes one")
    folder, new = _folder(options)
    make_folder(folder)
    shown, listen = listener(sys.stderr)
    unwritable: InputError | None = None
    with Session(request, folder, listen) as session:
        try:
            with shown:
                _measure(session, options)
        except KeyboardInterrupt:
            if session.run is None:
                raise
            session.end("interrupted")
        except InputError as error:
            if session.run is None:
                raise
            unwritable = error
        run = session.run
        assert run is not None
        for warning in session.warnings:
            print(f"bnsuite: {warning}", file=sys.stderr)
    if new:
        _point_latest_to(folder)
    status = conclude(run, reference_for(run, options), options, None if unwritable else folder)
    if unwritable is not None:
        raise unwritable
    return status


def _measure(session: Session, options: argparse.Namespace) -> None:
    from bnsuite.cli.conclude import reference_for
    from bnsuite.judge.gates import judge
    from bnsuite.judge.verdict import Verdict

    reference = reference_for(session.prepare(), options)  # unusable baselines are found before the measuring
    session.follow_curves()
    run = session.time()
    slower = {one.case for one in judge(run, reference) if (one.gate, one.verdict) == ("timing", Verdict.REGRESSED)}
    if slower:  # a slowdown is only believed when fresh launches show it again
        session.confirm(slower)
    session.end()


def _folder(options: argparse.Namespace) -> tuple[Path, bool]:
    """Where results go: --out, ``$BNSUITE_OUT``, or a new folder named by the time; and whether it is a new one."""
    if options.out is not None:
        return options.out, False
    if "BNSUITE_OUT" in os.environ:
        return Path(os.environ["BNSUITE_OUT"]), False
    return RESULTS / datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ"), True


def _point_latest_to(folder: Path) -> None:
    """Make results/latest lead to the newest run; where a file system has no links, it just does not exist."""
    with contextlib.suppress(OSError):
        LATEST.unlink(missing_ok=True)
        LATEST.symlink_to(folder.name)
