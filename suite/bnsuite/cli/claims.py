"""``bnsuite claims``: what the articles claim, and what was measured."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bnsuite.cli.options import add_run
from bnsuite.cli.output import remark, say

if TYPE_CHECKING:
    from pathlib import Path

    from bnsuite.articles.evidence import Evidence

SUMMARY = "what the articles claim, and what a run says to it"


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--json", action="store_true", help="print the answers as JSON instead of the tables")


def main(options: argparse.Namespace) -> int:
    from bnsuite.articles import tables as claims
    from bnsuite.articles.claims import answers
    from bnsuite.articles.evidence import Evidence
    from bnsuite.record import details, store
    from bnsuite.record.errors import NotMeasuredError

    evidence = Evidence(store.load(options.run), details.load(store.folder_of(options.run)))
    tell_missing(evidence, options.run)
    answered = answers(evidence)
    if not any(rows for _, rows in answered):
        raise NotMeasuredError(f"{options.run}: no claim is tried by what it measured; --profile full tries all")
    say(claims.as_json(answered) if options.json else claims.terminal(answered))
    return 0


def tell_missing(evidence: Evidence, run: Path) -> None:
    """Say that the files of some trainings are not there: what only they tell is left out."""
    if lost := evidence.without_details():
        count = f"{len(lost)} training{'' if len(lost) == 1 else 's'}"
        remark(
            f"{run}: trainings/ lacks {count} ({lost[0]}{' ...' if len(lost) > 1 else ''}); what needs them is left out"
        )
