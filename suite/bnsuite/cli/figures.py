"""``bnsuite figures``: the pictures the articles draw, of what was measured."""

from __future__ import annotations

import argparse

from bnsuite.cli.claims import tell_missing
from bnsuite.cli.options import add_run, path
from bnsuite.cli.output import remark, say

SUMMARY = "draw what the articles draw, from a run"


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--out", type=path, metavar="DIR", help="where the pictures go (default: RUN/figures)")


def main(options: argparse.Namespace) -> int:
    from bnsuite.articles.evidence import Evidence
    from bnsuite.articles.figures import draw
    from bnsuite.record import details, store
    from bnsuite.record.errors import NotMeasuredError

    where = store.folder_of(options.run)
    evidence = Evidence(store.load(options.run), details.load(where))
    tell_missing(evidence, options.run)
    folder = options.out or where / "figures"
    drawn = 0
    for picture in draw(evidence, folder):
        say(f"wrote {picture}")
        drawn += 1
    if not drawn:
        raise NotMeasuredError(f"{options.run}: holds no training to draw; measure with --profile full")
    remark(f"{drawn} files in {folder}/")
    return 0
