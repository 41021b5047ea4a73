"""``bnsuite ab``: whether B is as fast, as small, as right and as trainable as A."""

from __future__ import annotations

import argparse
import random
import re
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from bnsuite.cli.options import FINDINGS, REPORT, add_measuring, asked_of, baselines_folder, data_folder, results_folder
from bnsuite.cli.output import remark, say
from bnsuite.record.errors import InputError, one_line

if TYPE_CHECKING:
    from bnsuite.launch.comparison import Comparison
    from bnsuite.launch.lockstep import Lockstep
    from bnsuite.record.lockstep import Compared

SUMMARY = "compare two environments in lockstep: A is trusted, B is judged"

#: A case is undecided after so many launches, by profile; as many again may confirm what they show.
MOST_LAUNCHES = {"quick": 18, "full": 30}
#: A case of which so many launches were disturbed is given up.
REPEATS = 3


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
        default={},
        metavar="FAULT",
        help="plant a known fault into B's steps: slower=0.03 or holds=2097152",
    )
    add_measuring(parser)


def main(options: argparse.Namespace) -> int:
    from bnsuite.cli.conclude import make_sure_of_baselines
    from bnsuite.launch.comparison import Comparison
    from bnsuite.launch.environments import parse
    from bnsuite.launch.lockstep import Lockstep
    from bnsuite.record.files import make_folder
    from bnsuite.report.progress import listener

    began = monotonic()
    deadline = None if options.budget is None else began + options.budget
    sites = parse(options.a), parse(options.b)
    requests = asked_of(options, None), asked_of(options, options.impl_b)
    make_sure_of_baselines(options)
    folder, _ = results_folder(options)
    make_folder(folder)
    shown, listen = listener(sys.stderr)
    ended_by: str | None = None
    with Comparison(sites, requests, folder, listen, data_folder(options)) as comparison:
        comparison.prepare()
        lockstep = Lockstep(
            comparison.sessions,
            folder,
            seed=random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed,
            most_launches=MOST_LAUNCHES[options.profile],
            budget_s=options.budget,
            plant=options.plant,
        )
        try:
            with shown:
                _measure(comparison, lockstep, deadline)
        except KeyboardInterrupt:
            ended_by = "interrupted"
        except Exception as error:  # noqa: BLE001  # whatever it is: what was measured before is shown
            ended_by = str(error) if isinstance(error, InputError) else one_line(error)
        comparison.end(ended_by)
    for warning in comparison.warnings:
        remark(warning)
    return conclude(folder, options)


def conclude(folder: Path, options: argparse.Namespace) -> int:
    """Judge what lies in `folder`, write the verdicts beside it and print them; returns the exit status."""
    from bnsuite.judge import comparison
    from bnsuite.judge.verdict import Judgement, exit_status
    from bnsuite.record import lockstep, pins, store
    from bnsuite.record.files import write_atomically
    from bnsuite.report.comparison import markdown, terminal

    a, b = (store.load(folder / side) for side in lockstep.SIDES)
    times = lockstep.load(folder)
    findings = comparison.judge(a, b, times, pins.read(baselines_folder(options)))
    status = exit_status(findings, finished=b.finished, strict=options.strict)
    judgement = Judgement(schema=Judgement.SCHEMA, reference=times.a, status=status, findings=tuple(findings))
    text = judgement.model_dump_json(by_alias=True, indent=1)
    write_atomically(folder / FINDINGS, text + "\n")
    write_atomically(folder / REPORT, markdown(a, b, times, findings, status))
    say(text if options.json else terminal(a, b, times, findings, status))
    return status


def _measure(comparison: Comparison, lockstep: Lockstep, deadline: float | None) -> None:
    """Look, follow, then time as long as something is undecided and the budget lasts."""
    from bnsuite.judge.lockstep import decide

    for session in comparison.sessions:
        session.look(deadline)
    for session in comparison.sessions:
        session.follow_curves(deadline)
    times = lockstep.times
    cases = len(lockstep.names())
    while True:
        known = {one.id: one for one in lockstep.times.cases}
        names = [name for name in lockstep.names() if not _exhausted(known.get(name))]
        decisions = {name: decide(known[name], cases, times.most_launches) for name in names if name in known}
        open_ones = [name for name in names if name not in decisions or decisions[name].verdict is None]
        if not open_ones or (deadline is not None and monotonic() + lockstep.expected_s(open_ones) > deadline):
            return
        lockstep.launch(open_ones, [name for name in open_ones if name in decisions and decisions[name].flagged])


def _exhausted(compared: Compared | None) -> bool:
    """Whether a case has been disturbed so often that more launches won't help."""
    if compared is None:
        return False
    return len(compared.launches) >= len(compared.values()) + len(compared.values(confirms=True)) + REPEATS
