"""``bnsuite ab``: whether B is as fast, as small, as right and as trainable as A."""

from __future__ import annotations

import argparse
import re
import sys

from bnsuite.cli.options import add_measuring, asked_of, baselines_folder, data_folder, results_folder
from bnsuite.cli.output import remark
from bnsuite.cli.results import point_latest_to, print_verdicts, tell_unwritten

SUMMARY = "compare two environments in lockstep: A is trusted, B is judged"


def budget(text: str) -> float:
    """A duration such as ``90s``, ``10m`` or ``2h``, in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)", text)
    seconds = float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if not 0 < seconds < 1e7:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write it like 90s, 10m or 2h")
    return seconds


def plant(text: str) -> dict[str, float]:
    """A fault such as ``slower=0.03`` or ``holds=2097152``, as the worker takes it."""
    name, _, amount = text.partition("=")
    try:
        if name == "slower" and 0 < float(amount) <= 10:
            return {"slower": float(amount)}
        if name == "holds" and 0 < int(amount) < 1 << 40:
            return {"bytes_held": int(amount)}
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        f"{text!r} is no fault; write it like slower=0.03 (a share) or holds=2097152 (bytes)"
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    forms = ". (this interpreter), python:PATH, torch==X.Y.Z or docker:IMAGE"
    parser.add_argument("a", metavar="A", help=f"the environment that is trusted: {forms}")
    parser.add_argument("b", metavar="B", help="the environment that is judged")
    parser.add_argument(
        "--impl-b", metavar="MODULE:FACTORY", help="judge this batch norm in the place of B's (or FILE.py:FACTORY)"
    )
    parser.add_argument("--budget", type=budget, metavar="TIME", help="end after 90s, 10m or 2h, decided or not")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="which side comes first follows from it (default: chance)"
    )
    parser.add_argument(
        "--plant",
        type=plant,
        dest="injected",
        default={},
        metavar="FAULT",
        help="plant a known fault into B: slower=0.03 or holds=2097152",
    )
    add_measuring(parser)


def main(options: argparse.Namespace) -> int:
    from bnsuite.cli.comparing import ComparisonRequest, compare
    from bnsuite.cli.conclude import require_baselines
    from bnsuite.report.comparison import terminal

    require_baselines(options)
    folder, by_time = results_folder(options)
    wanted = ComparisonRequest(
        a=options.a,
        b=options.b,
        options=(asked_of(options, None), asked_of(options, options.impl_b)),
        folder=folder,
        data=data_folder(options),
        baselines=baselines_folder(options),
        seed=options.seed,
        budget_s=options.budget,
        injected=options.injected,
        strict=options.strict,
        by_time=by_time,
    )
    judged = compare(wanted, sys.stderr)
    if by_time:
        point_latest_to(judged.folder)
    for warning in judged.warnings:
        remark(warning)
    table = terminal(judged.a, judged.b, judged.times, judged.findings, judged.status)
    tell_unwritten(print_verdicts(judged.text if options.json else table, judged.unwritten), judged.status)
    return judged.status
