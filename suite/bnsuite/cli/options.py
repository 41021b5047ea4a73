"""Options that several verbs share, and where results lie by default."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from bnsuite.launch.plan import PLANS, run_options
from bnsuite.record.errors import InputError
from bnsuite.record.schema import RunOptions

RESULTS = Path("results")
LATEST = RESULTS / "latest"


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


def add_measuring(parser: argparse.ArgumentParser, *, verdicts: bool = True) -> None:
    """What every verb that measures asks for; `verdicts` with how they are shown and counted."""
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto (default), cpu, cuda or cuda:N")
    parser.add_argument(
        "--profile", default="quick", choices=tuple(PLANS), help="how much is measured (default: quick)"
    )
    add_select(parser)
    parser.add_argument(
        "--out", type=path, metavar="DIR", help=f"where results go (default: $BNSUITE_OUT or {RESULTS}/TIME)"
    )
    parser.add_argument("--threads", type=positive(int), default=1, metavar="N", help="CPU threads (default: 1)")
    parser.add_argument(
        "--timeout", type=positive(float), default=300.0, metavar="S", help="seconds a case may take (default: 300)"
    )
    add_data(parser)
    add_baselines(parser)
    if verdicts:
        add_verdicts(parser)


def asked_of(options: argparse.Namespace, implementation: str | None) -> RunOptions:
    """What `add_measuring` was given, checked as far as can be without starting anything; raises InputError."""
    return run_options(
        device=options.device,
        profile=options.profile,
        select=options.k,
        threads=options.threads,
        timeout_s=options.timeout,
        implementation=implementation,
    )


def results_folder(options: argparse.Namespace) -> tuple[Path, bool]:
    """Where results go: --out, ``$BNSUITE_OUT``, or a folder named by the time; and whether it is that."""
    if options.out is not None:
        return options.out, False
    if os.environ.get("BNSUITE_OUT"):
        return Path(os.environ["BNSUITE_OUT"]), False
    return RESULTS / datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ"), True


#: What `last_run` is, in words.
LAST = f"$BNSUITE_OUT, or {LATEST}"


def last_run() -> Path:
    """Where the last run is, if it went where runs go by themselves."""
    return Path(os.environ.get("BNSUITE_OUT") or LATEST)


def add_run(parser: argparse.ArgumentParser) -> None:
    """RUN, the folder of a run."""
    parser.add_argument(
        "run", nargs="?", type=path, default=last_run(), metavar="RUN", help=f"the folder of a run (default: {LAST})"
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
