"""``bnsuite doctor``: whatever on this host disturbs or prevents a measurement, with its fix."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bnsuite.cli import config, options, parameters
from bnsuite.cli.output import say
from bnsuite.record.errors import InputError, NotMeasuredError

if TYPE_CHECKING:
    from bnsuite.record.host import HostCheck, NoiseFloor

STATUSES = "0 fit to measure, 1 something disturbs, 2 something could not be looked at, or usage"


@click.command(
    short_help="Check this host for what disturbs or prevents a measurement.",
    help="Check this host for what disturbs or prevents a measurement, and print each fix. Nothing is changed.",
    epilog=f"Exit status: {STATUSES}.",
)
@options.device
@options.threads
@options.out
@options.data_unchecked
@options.baselines_unchecked
@options.config
@click.option("--ignore", "ignored", multiple=True, metavar="CHECK", help="Leave a check out; repeatable.")
@click.option("--measure", is_flag=True, help="Measure the noise floor as well, in about 45 seconds.")
@click.option(
    "--budget", type=parameters.Duration(), metavar="TIME", help="How long --measure measures (default: 30s)."
)
@click.option("--all", "everything", is_flag=True, help="Print what is fine, too.")
@options.as_json
@options.debug
def command(
    *,
    device: str,
    threads: int,
    out: Path | None,
    data_dir: Path | None,
    baselines: Path,
    ignored: tuple[str, ...],
    measure: bool,
    budget: float | None,
    everything: bool,
    as_json: bool,
) -> int:
    """Check the host and print what was found; returns the exit status."""
    from bnsuite import doctor
    from bnsuite.launch.plan import run_options
    from bnsuite.report import doctor as words

    run_options(device=device, profile="quick", select=None, threads=threads, timeout_s=1.0, implementation=None)
    names = [*doctor.check_names(), "noise"]
    for name in ignored:
        if name not in names:
            raise InputError(f"--ignore {name}: there is no such check; choose from {', '.join(names)}")
    request = doctor.DoctorRequest(
        device=device, threads=threads, results=out or config.results(), data=data_dir or _images(), baselines=baselines
    )
    host = doctor.Host()
    checks = doctor.examine(host, request, ignored=ignored)
    floor = None
    if measure and "noise" not in ignored:
        floor, check = _noise(device, threads, baselines, budget)
        checks = (*checks, check)
    report = doctor.report(checks, host, floor)
    say(words.as_json(report) if as_json else words.terminal(report, everything=everything))
    return report.status


def _images() -> Path:
    """The folder of images where none is named, as the measured process finds it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "bnsuite"


def _noise(device: str, threads: int, baselines: Path, budget_s: float | None) -> tuple[NoiseFloor | None, HostCheck]:
    """The noise floor and its check; what can't be measured could not be looked at."""
    from bnsuite.cli.verdicts import compared_quietly
    from bnsuite.experiments.noise import BUDGET_S, measure_noise
    from bnsuite.record.host import CheckState, HostCheck
    from bnsuite.report import units

    try:
        with tempfile.TemporaryDirectory(prefix="bnsuite-doctor-", ignore_cleanup_errors=True) as folder:
            result = measure_noise(
                Path(folder),
                compared_quietly,
                device=device,
                threads=threads,
                baselines=baselines,
                budget_s=budget_s or BUDGET_S,
            )
    except (InputError, NotMeasuredError) as error:
        return None, HostCheck(name="noise", state=CheckState.UNKNOWN, observed={"error": str(error)})
    floor = result.floor
    if floor is None:
        if result.undisturbed < result.made:
            seen: dict[str, Any] = {"made": result.made, "undisturbed": result.undisturbed}
            return None, HostCheck(name="noise", state=CheckState.DISTURBS, observed=seen, fix="quieter-host")
        launches = units.count(result.made, "launch", "launches")
        why = result.error or f"{launches} came out, too few to tell; give it more time with --budget"
        return None, HostCheck(name="noise", state=CheckState.UNKNOWN, observed={"error": why})
    if all(one.launches is None for one in floor.changes):
        observed: dict[str, Any] = {"change": floor.changes[-1].change, "most_launches": floor.most_launches}
        return floor, HostCheck(name="noise", state=CheckState.DISTURBS, observed=observed, fix="quieter-host")
    return floor, HostCheck(name="noise", state=CheckState.OK, observed={"deviation": floor.deviation})
