"""``bnsuite selftest``: the suite against itself, with nothing changed and with known faults in B's place."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from bnsuite.cli.ab import budget
from bnsuite.cli.options import RESULTS, asked_of, baselines_folder, path, positive
from bnsuite.cli.output import remark, say
from bnsuite.cli.results import claimed
from bnsuite.cli.trials import DEFAULT, KINDS, Plan, planned
from bnsuite.launch.plan import PLANS

if TYPE_CHECKING:
    from bnsuite.cli.comparing import ComparisonResult
    from bnsuite.record.selftest import Trial, Where
    from bnsuite.report.selftest import Resampled

SUMMARY = "plant known faults, compare the suite with itself: how often it finds, and how often it rings falsely"

#: Where trials go by default: one place, so that another selftest adds to what is there.
FOLDER = "selftest"
REPORT = "selftest.md"
#: A trial begins where there is time for so many of the longest of its kind: those that a budget ends are not counted,
#: and they are the ones that were hard to decide.
ROOM = 1.5


def kinds(text: str) -> tuple[str, ...]:
    """Names of kinds with commas between them; "all" is all of them."""
    named = tuple(KINDS) if text == "all" else tuple(dict.fromkeys(text.split(",")))
    for name in named:
        if name not in KINDS:
            raise argparse.ArgumentTypeError(f"there is no kind {name!r}; choose from all, {', '.join(KINDS)}")
    return named


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kind",
        type=kinds,
        default=DEFAULT,
        metavar="KIND[,KIND]",
        help=f"all, or some of {', '.join(KINDS)} (default: {','.join(DEFAULT)})".replace("%", "%%"),
    )
    parser.add_argument("--trials", type=positive(int), default=1, metavar="N", help="trials of each kind (default: 1)")
    parser.add_argument(
        "--budget", type=budget, metavar="TIME", help="end after 90s, 10m or 2h, and tell what is missing"
    )
    parser.add_argument("--busy", action="store_true", help="let a process of ours work on another core all the while")
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto (default), cpu, cuda or cuda:N")
    parser.add_argument(
        "--profile", default="quick", choices=tuple(PLANS), help="how much is measured (default: quick)"
    )
    parser.add_argument(
        "--out",
        type=path,
        default=Path(os.environ.get("BNSUITE_OUT") or RESULTS) / FOLDER,
        metavar="DIR",
        help=f"where trials go, beside those there (default: {FOLDER}/ in $BNSUITE_OUT or {RESULTS}/)",
    )
    parser.add_argument("--threads", type=positive(int), default=1, metavar="N", help="CPU threads (default: 1)")
    parser.add_argument(
        "--timeout", type=positive(float), default=300.0, metavar="S", help="seconds a case may take (default: 300)"
    )
    parser.set_defaults(k=None, baselines=None)


@dataclass
class _Session:
    """One selftest: what there is in its folder, and what keeps it from being complete."""

    options: argparse.Namespace
    where: Where
    names: tuple[str, ...]
    trials: list[Trial]
    missing: list[str] = field(default_factory=list)
    interrupted: bool = False

    def ours(self) -> list[Trial]:
        """The trials made in the same place and way."""
        return [one for one in self.trials if one.where == self.where]

    def left(self, trials: int | None = None) -> list[tuple[str, Plan]]:
        """What is still to be measured of so many trials of each kind, by default as many as were asked for."""
        done = Counter((one.kind, one.variant) for one in self.ours() if _measured(one))
        return planned(self.names, trials or self.options.trials, done)

    def counting(self) -> list[Trial]:
        """The trials that the exit status follows from: one that measured nothing counts until it is made up for."""
        missing = {(kind, plan.variant) for kind, plan in self.left()}
        return [one for one in self.ours() if _measured(one) or (one.kind, one.variant) in missing]


def _measured(trial: Trial) -> bool:
    from bnsuite.judge.selftest import End, end

    return end(trial) is not End.NOT_MEASURED


def main(options: argparse.Namespace) -> int:
    asked_of(options, None)
    with claimed(options.out):
        return _selftest(options)


def _selftest(options: argparse.Namespace) -> int:
    """With the folder its own."""
    from bnsuite.judge.interleaved import METHOD
    from bnsuite.launch.process import background_load
    from bnsuite.launch.queries import ask_here
    from bnsuite.record import selftest

    trials = selftest.load(options.out)
    device, environment = ask_here(options.device)
    where = selftest.Where(
        device=device,
        machine=selftest.machine_of(environment),
        torch=environment.packages.get("torch", "unknown"),
        method=METHOD,
        profile=options.profile,
        threads=options.threads,
        busy=options.busy,
    )
    session = _Session(options, where, options.kind, trials)
    selftest.repair(options.out)
    try:
        if session.left():
            with background_load.busy(options.threads) if options.busy else nullcontext():
                _measure(session)
    except KeyboardInterrupt:
        session.interrupted = True
    return _conclude(session)


def _measure(session: _Session) -> None:
    """Trial by trial, until all is measured or the budget ends."""
    from bnsuite.judge.selftest import surely_against
    from bnsuite.record import selftest
    from bnsuite.report import units

    options = session.options
    deadline = None if options.budget is None else monotonic() + options.budget
    todo = session.left()
    for number, (kind, plan) in enumerate(todo, start=1):
        usual = [one.wall_s for one in session.ours() if (one.kind, one.variant) == (kind, plan.variant)]
        left = None if deadline is None else deadline - monotonic()
        if left is not None and left < ROOM * max(usual, default=0.0):
            continue
        remark(f"{number} of {len(todo)}: {kind}, {plan.variant}")
        folder, seed = _folder(options.out), random.SystemRandom().randrange(1 << 32)
        began, started = monotonic(), datetime.now(timezone.utc).isoformat(timespec="seconds")
        judged = _compare(options, plan, folder, seed, left)
        took = monotonic() - began
        if not judged.b.finished:
            session.missing.append(f"{kind}, {plan.variant}: ended by {judged.b.ended_by}; what there is: {folder}")
            if judged.b.ended_by == "interrupted":
                session.interrupted = True
                return
            continue
        trial = _trial(session.where, kind, plan, judged, seed=seed, started=started, wall_s=took)
        if judged.cut_short and not surely_against(trial):
            shutil.rmtree(folder, ignore_errors=True)  # undecided for want of time says nothing of the gate
            remark(f"not counted: the budget ended it, after {units.duration(took)}")
            continue
        selftest.append(trial, options.out)
        session.trials.append(trial)
        remark(f"{_ended(trial, folder)}, after {units.duration(took)}")


def _compare(
    options: argparse.Namespace, plan: Plan, folder: Path, seed: int, budget_s: float | None
) -> ComparisonResult:
    from bnsuite.cli.comparing import ComparisonRequest, compare

    chosen = argparse.Namespace(**{**vars(options), "k": plan.select, "profile": plan.profile or options.profile})
    faulty = f"bnsuite.cases.faulty:{plan.faulty}" if plan.faulty else None
    wanted = ComparisonRequest(
        a=".",
        b=".",
        options=(asked_of(chosen, None), asked_of(chosen, faulty)),
        folder=folder,
        data=None,
        baselines=baselines_folder(options),
        seed=seed,
        budget_s=budget_s,
        injected=plan.injected,
    )
    judged = compare(wanted, sys.stderr if sys.stderr.isatty() else io.StringIO())
    for warning in judged.warnings:
        remark(warning)
    return judged


def _trial(
    where: Where, kind: str, plan: Plan, judged: ComparisonResult, *, seed: int, started: str, wall_s: float
) -> Trial:
    from bnsuite.judge.blocks import values_by_case
    from bnsuite.record.selftest import Seen, Trial

    environment = judged.b.environment
    values = values_by_case(judged.times)
    return Trial(
        schema=Trial.SCHEMA,
        kind=kind,
        variant=plan.variant,
        select=plan.select,
        injected=plan.injected,
        implementation=judged.b.options.implementation,
        gate=plan.gate,
        seed=seed,
        most_launches=judged.times.most_launches,
        where=where,
        started=started,
        bnsuite=judged.b.bnsuite,
        revision=judged.b.revision,
        python=environment.python,
        wall_s=wall_s,
        launches=max((len(one.screen) + len(one.confirm) for one in values), default=0),
        findings=tuple(
            Seen(
                case=one.case,
                gate=one.gate,
                verdict=one.verdict.value,
                change=one.change,
                low=one.low,
                high=one.high,
            )
            for one in judged.findings
        ),
        values=values,
    )


def _folder(out: Path) -> Path:
    """A folder that no trial has had yet."""
    stem = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    names = (out / "trials" / f"{stem}{'' if number == 0 else f'-{number}'}" for number in range(10_000))
    return next(name for name in names if not name.exists())


def _ended(trial: Trial, folder: Path) -> str:
    """How a trial ended, in words; its folder is kept only if that is not how it must end."""
    from bnsuite.judge.selftest import End, concerned, end, told
    from bnsuite.judge.verdict import Verdict

    ended = end(trial)
    text = f"{ended.value}: {told(Counter(Verdict(one.verdict) for one in concerned(trial)))}"
    if ended is not End.AS_REQUIRED:
        return f"{text}; see {folder}"
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # others are kept there
        folder.parent.rmdir()
    return text


def _conclude(session: _Session) -> int:
    """The table, of all that is in the folder, and the exit status."""
    from bnsuite.judge.selftest import rates, status
    from bnsuite.record.files import write_atomically
    from bnsuite.report.selftest import Selftest, markdown, terminal

    options = session.options
    left = session.left()
    why = "interrupted" if session.interrupted else "the budget ended" if options.budget else "not measured"
    short = Counter(kind for kind, _ in left)
    missing = [*session.missing, *(_missing(kind, count, why) for kind, count in short.items())]
    complete = not session.left(trials=1) and not session.interrupted and not session.missing
    shown = Selftest(
        trials=session.trials,
        rates=rates(session.trials),
        resampled=[] if session.interrupted else list(_resampled(session.trials)),
        missing=missing,
        again=list(_again(session.trials)),
        status=status(session.counting(), complete=complete),
    )
    write_atomically(options.out / REPORT, markdown(shown))
    say(terminal(shown))
    return shown.status


def _missing(kind: str, count: int, why: str) -> str:
    return f"{kind}: {count} comparison{' is' if count == 1 else 's are'} missing ({why})"


def _resampled(trials: Sequence[Trial]) -> Iterator[Resampled]:
    """Runs put together anew from the launches of each place that has enough of them."""
    from bnsuite.judge.selftest import CASES, MIN_LAUNCHES, quiet_launches, runs_that_ring
    from bnsuite.report.selftest import Resampled

    for where in dict.fromkeys(one.where for one in trials):
        launches = quiet_launches(trials, where)
        if len(launches) >= MIN_LAUNCHES:
            most = max(one.most_launches for one in trials if one.where == where)
            yield Resampled(where, len(launches), CASES, runs_that_ring(launches, most=most))


def _again(trials: Sequence[Trial]) -> Iterator[str]:
    """The commands that make as many trials anew: one for each place, and for the kinds there are as many of."""
    for where in dict.fromkeys(one.where for one in trials):
        done = Counter((one.kind, one.variant) for one in trials if one.where == where)
        kinds: dict[int, list[str]] = {}
        for kind in dict.fromkeys(kind for kind, _ in done):
            whole = 1
            while not planned((kind,), whole + 1, done):
                whole += 1
            kinds.setdefault(whole, []).append(kind)
        for count, some in kinds.items():
            said = [f"--trials {count}", f"--kind {','.join(some)}", f"--device {where.device}"]
            said += [f"--profile {where.profile}", f"--threads {where.threads}"]
            yield " ".join(["bnsuite selftest", *said, *(["--busy"] if where.busy else []), "--out DIR"])
