"""Options that several verbs share, and where results lie by default."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from bnsuite.record.errors import InputError

RESULTS = Path("results")
LATEST = RESULTS / "latest"
#: Beside ``run.json``: the verdicts for machines and for people.
FINDINGS = "findings.json"
REPORT = "report.md"


def positive(kind: type[int | float]) -> Callable[[str], int | float]:
    """What turns an option's text into a positive number of this kind."""

    def parse(text: str) -> int | float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(0)
        if not 0 < value < 1e9:
            raise argparse.ArgumentTypeError(f"{text!r} is not a positive {'whole ' if kind is int else ''}number")
        return value

    return parse


def path(text: str) -> Path:
    """A path that was named; an empty one is a variable that was not set, and not this folder."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


def add_run(parser: argparse.ArgumentParser) -> None:
    """RUN, the folder of a run."""
    parser.add_argument(
        "run", nargs="?", type=path, default=LATEST, metavar="RUN", help=f"the folder of a run (default: {LATEST})"
    )


def add_select(parser: argparse.ArgumentParser) -> None:
    """-k EXPR."""
    parser.add_argument("-k", metavar="EXPR", help="only the cases whose id matches, as in 'batch_norm2d and not nhwc'")


def add_data(parser: argparse.ArgumentParser) -> None:
    """--data-dir DIR."""
    parser.add_argument(
        "--data-dir",
        type=path,
        metavar="DIR",
        help="MNIST and Fashion-MNIST in torchvision's layout (default: $BNSUITE_DATA or ~/.cache/bnsuite)",
    )


def data_folder(options: argparse.Namespace) -> Path | None:
    """Where images are looked for, if that was said; InputError if it is not there."""
    for name, named in (("--data-dir", options.data_dir), ("BNSUITE_DATA", os.environ.get("BNSUITE_DATA") or None)):
        if named is not None:
            if not Path(named).is_dir():
                raise InputError(f"{name} {named}: there is no such folder; make it, and images are downloaded into it")
            return Path(named)
    return None


def add_baselines(parser: argparse._ActionsContainer) -> None:
    """--baselines DIR."""
    parser.add_argument(
        "--baselines", type=path, metavar="DIR", help="accepted references (default: $BNSUITE_BASELINES or baselines/)"
    )


def add_verdicts(parser: argparse.ArgumentParser) -> None:
    """--strict and --json."""
    parser.add_argument(
        "--strict", action="store_true", help="INCONCLUSIVE, NO_BASELINE and SKIPPED end with status 3, not 0"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON instead of the table")


def baselines_folder(options: argparse.Namespace) -> Path:
    """Where the baselines are looked for."""
    named: Path | None = options.baselines
    return named or Path(os.environ.get("BNSUITE_BASELINES") or "baselines")
