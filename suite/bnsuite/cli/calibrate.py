"""``bnsuite calibrate``: take the limits of a GPU from what was measured on it."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bnsuite.cli import config, named_files, options
from bnsuite.cli.accept import require_kept
from bnsuite.cli.options import MeasuringOptions, ShowOptions
from bnsuite.cli.output import progress, remark, say, screen, status_of

if TYPE_CHECKING:
    from bnsuite.record.pins import Pin
    from bnsuite.record.schema import Run

#: Letters of the reason of a pin, at least.
MIN_REASON = 10
#: Options that say how to measure, and have no use for a run that is there.
MEASURING = ("device", "profile", "select", "threads", "timeout", "out", "data_dir", "cases")


@click.command(
    help="Take the limits of a GPU from what was measured on it: bounds of ratios, limits of checks that were found on "
    "CPUs, and figures of the controls; list the deviations that are to be looked at. Without RUN it measures first."
)
@click.argument("runs", nargs=-1, type=options.PATH, metavar="[RUN ...]")
@click.option("--replace", is_flag=True, help="Let a looser bound take the place of a tighter one.")
@click.option("--dry-run", is_flag=True, help="Show what would change and write nothing.")
@click.option(
    "--pin",
    "patterns",
    multiple=True,
    metavar="CASE[ OBSERVATION]",
    help="Pin the deviations of RUN in these cases (patterns; * matches anything), and do nothing else. Repeatable.",
)
@click.option("--reason", metavar="TEXT", help="Why the deviations are known, for --pin; name a public issue.")
@options.device
@options.profile
@options.select
@named_files.cases
@options.out
@options.threads
@options.timeout
@options.data_unchecked
@options.baselines_unchecked
@options.config
@options.debug
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    runs: tuple[Path, ...],
    replace: bool,
    dry_run: bool,
    patterns: tuple[str, ...],
    reason: str | None,
    baselines: Path,
    data_dir: Path | None,
    **measuring: Any,
) -> int:
    """Calibrate by runs, by a new one, or pin deviations; returns the exit status."""
    from bnsuite.record.store import load_run

    _require_folder(baselines, writes=not dry_run)
    if bool(patterns) != (reason is not None):
        raise click.UsageError("--pin and --reason: one needs the other", context)
    if reason is not None and len(reason.strip()) < MIN_REASON:
        raise click.UsageError(f"--reason: {reason!r} says too little; write a sentence, with a public issue", context)
    given = [name for name in MEASURING if options.on_command_line(context, name)]
    if given and (runs or patterns):
        option = "-k" if given[0] == "select" else f"--{given[0].replace('_', '-')}"
        raise click.UsageError(f"{option}: not allowed with {'RUN' if runs else '--pin'}", context)
    if patterns and not runs:
        runs = (options.last_run(),)
    if not runs:
        data_dir = options.existing_data(context, data_dir)
        runs = (_measure(_given(baselines, data_dir, **measuring)),)
    loaded = [load_run(one) for one in runs]
    if patterns:
        assert reason is not None
        return _pin(loaded, baselines, patterns, reason.strip(), dry_run=dry_run)
    return _calibrate(runs, loaded, baselines, replace=replace, dry_run=dry_run)


def _require_folder(baselines: Path, *, writes: bool) -> None:
    """Raise InputError for baselines that are no folder, or that nothing written is kept in."""
    from bnsuite.record.errors import InputError
    from bnsuite.record.files import exists

    if exists(baselines) and not baselines.is_dir():
        raise InputError(f"{baselines}: is a file; name a folder with --baselines")
    if writes:
        require_kept(baselines)


def _given(
    baselines: Path,
    data: Path | None,
    *,
    device: str,
    profile: str,
    select: str | None,
    cases: tuple[str, ...],
    threads: int,
    timeout: float,
    out: Path | None,
) -> MeasuringOptions:
    return MeasuringOptions(
        device=device,
        profile=profile,
        select=select,
        cases=cases,
        workloads=(),
        threads=threads,
        timeout_s=timeout,
        folder=options.results_folder(out),
        data=data,
        baselines=baselines,
        config=config.used(),
    )


def _measure(given: MeasuringOptions) -> Path:
    """Measure and judge a run, print its last line, and return its folder; raises what ended it before its end."""
    from bnsuite import doctor
    from bnsuite.cli.verdicts import judged, reference_for, show_run
    from bnsuite.experiments.run import RunRequest, run
    from bnsuite.report.detail import Detail
    from bnsuite.report.judged import RunReport

    run_options = given.run_options()
    with given.folder.claimed() as folder:
        host = doctor.taken(doctor.DoctorRequest(given.device, given.threads, folder.path))
        request = RunRequest(run_options, folder, given.data, lambda empty: reference_for(empty, given.baselines), host)
        with progress() as notify:
            result = run(request, notify)
        folder.point_latest_here()
        for warning in result.warnings:
            remark(warning)
        judgement = judged(result.run, result.findings, result.reference, strict=False)
        report = RunReport(result.run, judgement, folder=folder.path, reference=result.reference)
        show_run(report, ShowOptions(as_json=False, detail=Detail.LAST_LINE, color="never"), written=True)
    if result.error is not None:
        remark(f"{folder.path} keeps what was measured: {status_of(result.error)[1]}")
        raise result.error
    return folder.path


def _calibrate(where: Sequence[Path], runs: list[Run], folder: Path, *, replace: bool, dry_run: bool) -> int:
    from bnsuite.judge.calibration import MIN_LAUNCHES, calibrate
    from bnsuite.judge.verdict import ExitStatus
    from bnsuite.record import accept, calibration, pins
    from bnsuite.record.files import locked
    from bnsuite.report.calibration import render

    accept.require_acceptable(runs)
    path = calibration.path(folder, runs[-1])
    with locked(folder):
        stored = calibration.read(folder, runs[-1])
        made = calibrate(runs, stored, pins.read(folder), replace=replace)
        say(render(made, where, folder, screen("never")))
        if not made.measured:
            say("nothing written: no measurement is undisturbed and complete; measure again")
            return ExitStatus.NOT_MEASURED
        if made.calibration.device == "cpu":
            say("a CPU is judged by the limits that are shipped; its calibration judges nothing")
        if dry_run:
            say("nothing written (--dry-run)")
        elif made.calibration == stored:
            say(f"{path}: unchanged")
        else:
            accept.write({path: calibration.text(made.calibration)})
            say(f"wrote {path}")
        if made.no_ratio:
            say(f"no ratio is calibrated: each needs {MIN_LAUNCHES} undisturbed launches; measure again")
            return ExitStatus.NOT_MEASURED
    return ExitStatus.FINE


def _pin(runs: list[Run], folder: Path, patterns: Sequence[str], reason: str, *, dry_run: bool) -> int:
    """Add pins for the deviations that `patterns` name to the list of pins; returns the exit status."""
    from bnsuite.judge.deviations import deviations, pin_of
    from bnsuite.record import accept, calibration, pins
    from bnsuite.record.errors import InputError
    from bnsuite.record.files import locked
    from bnsuite.report.calibration import pinned

    accept.require_acceptable(runs)
    run = runs[-1]
    with locked(folder):
        stored = calibration.judging(folder, run)
        limits = {(one.case, one.what): one for one in stored.limits} if stored is not None else {}
        known = pins.read(folder)
        found = deviations(runs, known, limits)
        chosen = [one for one in found if any(_names(pattern, one.case, one.what) for pattern in patterns)]
        if not chosen:
            has = f"it has {len(found)} others" if found else "it has none"
            raise InputError(f"--pin {patterns[0]!r}: the run has no such deviation ({has}); `bnsuite calibrate` lists")
        new: list[Pin] = [pin_of(one, run, reason) for one in chosen]
        say(pinned(chosen, screen("never")))
        path = folder / pins.PINS_FILE
        if dry_run:
            say("nothing written (--dry-run)")
            return 0
        accept.write({path: pins.text([*known, *new])})
        say(f"wrote {path}")
    return 0


def _names(pattern: str, case: str, what: str) -> bool:
    """Returns True if "CASE" or "CASE OBSERVATION", of patterns, is of this observation; an id has no spaces."""
    of_case, _, of_what = pattern.strip().partition(" ")
    return fnmatchcase(case, of_case) and (not of_what or fnmatchcase(what, of_what.strip()))
