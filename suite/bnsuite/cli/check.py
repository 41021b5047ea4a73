"""``bnsuite check``: judge a run again."""

from __future__ import annotations

import argparse

from bnsuite.cli.options import add_baselines, add_run, add_verdicts, baselines_folder, path

SUMMARY = "judge a run again, against baselines or another run"


def add_options(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    against = parser.add_mutually_exclusive_group()
    add_baselines(against)
    against.add_argument("--against", type=path, metavar="RUN", help="another run instead of the baselines")
    add_verdicts(parser)


def main(options: argparse.Namespace) -> int:
    from bnsuite.cli.conclude import conclude, reference_for
    from bnsuite.record import pins, store
    from bnsuite.record.key import machine_key
    from bnsuite.record.reference import from_run

    run = store.load(options.run)
    if options.against is None:
        return conclude(run, reference_for(run, options), options)
    known = pins.read(baselines_folder(options))
    other = from_run(store.load(options.against), str(options.against), machine_key(run), known)
    return conclude(run, other, options)
