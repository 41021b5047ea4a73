"""``bnsuite list``: the cases there are."""

from __future__ import annotations

import argparse

from bnsuite.cli.options import add_data, add_select, data_folder
from bnsuite.cli.output import say
from bnsuite.launch.plan import PLANS

SUMMARY = "the cases there are"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--profile", default="full", choices=tuple(PLANS), help="the cases of a profile (default: full)"
    )
    add_select(parser)
    add_data(parser)


def main(options: argparse.Namespace) -> int:
    from bnsuite.launch.queries import catalogue
    from bnsuite.report.catalogue import cases as cases_table

    planned = catalogue(options.profile, options.k, data_folder(options))
    say(cases_table(planned, each_check=options.k is not None))
    return 0
