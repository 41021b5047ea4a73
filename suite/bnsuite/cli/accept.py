"""``bnsuite accept``: make runs the baseline."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bnsuite.cli import options
from bnsuite.cli.output import say, screen
from bnsuite.record.accept import WHAT

if TYPE_CHECKING:
    from bnsuite.record.schema import Run


@click.command(
    help=f"Make runs the baseline, after showing what changes. {options.LAST} Several runs of one machine tell how it "
    "drifts."
)
@click.argument("runs", nargs=-1, type=options.PATH, metavar="[RUN ...]")
@options.baselines_unchecked
@options.config
@click.option("--only", type=click.Choice(WHAT), help="Accept one kind of reference alone.")
@click.option("--dry-run", is_flag=True, help="Show what would change and write nothing.")
@options.debug
def command(*, runs: tuple[Path, ...], baselines: Path, only: str | None, dry_run: bool) -> int:
    """Accept runs; returns the exit status."""
    from bnsuite.record.errors import InputError
    from bnsuite.record.files import exists, locked
    from bnsuite.record.store import load_run

    if exists(baselines) and not baselines.is_dir():
        raise InputError(f"{baselines}: is a file; name a folder with --baselines")
    if not dry_run:
        require_kept(baselines)
    where = runs or (options.last_run(),)
    loaded = [load_run(one) for one in where]
    with locked(baselines):
        return _accept(where, loaded, baselines, only, dry_run=dry_run)


def require_kept(baselines: Path) -> None:
    """Raise InputError for the baselines of the image that this runs in: what is written there ends with the container.

    A folder that is mounted is kept, wherever it is.
    """
    from bnsuite.record.errors import InputError

    if not in_container() or str(baselines) != os.environ.get("BNSUITE_BASELINES"):
        return
    absolute = baselines.absolute()
    if any(folder.is_mount() for folder in (absolute, *absolute.parents) if folder != Path("/")):
        return
    raise InputError(
        f"{baselines}: belongs to the image, and ends with the container; mount a folder and name it (docker run "
        '-v "$PWD/baselines:/baselines" ... accept --baselines /baselines)'
    )


def in_container() -> bool:
    """Returns True if this process looks to be in a Docker or Podman container."""
    return any(Path(one).exists() for one in ("/.dockerenv", "/run/.containerenv"))


def _accept(where: tuple[Path, ...], runs: list[Run], folder: Path, only: str | None, *, dry_run: bool) -> int:
    from bnsuite.judge import timing
    from bnsuite.judge.gates import judge
    from bnsuite.judge.verdict import ExitStatus, Verdict
    from bnsuite.record import accept, baselines
    from bnsuite.record.lines import torch_of
    from bnsuite.report import units
    from bnsuite.report.catalogue import changes as changes_table

    # A case that passes keeps its baseline: no reference drifts by being accepted again and again.
    each = [(place, finding) for place, run in enumerate(runs) for finding in judge(run, baselines.load(folder, run))]
    spoiled = {
        (place, finding.case)
        for place, finding in each
        if finding.gate == timing.GATE and finding.verdict in {Verdict.FAILED, Verdict.INVALID}
    }
    passing = {(place, finding.case, finding.gate) for place, finding in each if finding.verdict is Verdict.PASS}
    what = [only] if only else accept.WHAT
    changes, files = accept.accept(runs, folder, what=what, keep=passing, spoiled=spoiled)
    for path, run in zip(where, runs, strict=True):
        say(f"{path}: of {run.started}, {run.options.profile}, {run.device}, torch {torch_of(run)}")
    say(changes_table(changes, screen("never")))
    if not files:
        left_out = sum(not change.measured for change in changes)
        more = f"; left out: {units.count(left_out, 'case')}, measure them again" if left_out else ""
        say(f"nothing accepted: the baseline stays as it is{more}")
        return ExitStatus.NOT_MEASURED if left_out else ExitStatus.FINE
    if dry_run:
        say("nothing written (--dry-run)")
        return 0
    accept.write(files)
    for written in files:
        say(f"wrote {written}")
    return 0
