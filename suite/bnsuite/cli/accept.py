"""``bnsuite accept``: make runs the baseline."""

from __future__ import annotations

import argparse
from pathlib import Path

from bnsuite.cli.options import LATEST, add_baselines, baselines_folder

SUMMARY = "make runs the baseline, after showing what changes"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="*",
        type=Path,
        default=[LATEST],
        metavar="RUN",
        help=f"folders of runs of one machine; several tell how it drifts (default: {LATEST})",
    )
    add_baselines(parser)
    parser.add_argument("--dry-run", action="store_true", help="show what would change and write nothing")


def main(options: argparse.Namespace) -> int:
    from bnsuite.record import baselines, store
    from bnsuite.report.table import changes as changes_table

    changes, files = baselines.accept([store.load(path) for path in options.runs], baselines_folder(options))
    print(changes_table(changes))
    if options.dry_run:
        print("nothing written (--dry-run)")
        return 0
    baselines.write(files)
    for path in files:
        print(f"wrote {path}")
    return 0
