"""``bnsuite selftest``: the suite against itself, with nothing changed and with known faults in B's place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bnsuite.cli import config, named_files, options
from bnsuite.cli.output import lines, say, screen
from bnsuite.experiments.trials import DEFAULT, KINDS, WORKLOAD_DEFAULT, of_workloads
from bnsuite.record.errors import InputError
from bnsuite.record.folder import RESULTS, SELFTEST_REPORT, ResultsFolder

if TYPE_CHECKING:
    from bnsuite.record.schema import RunOptions

#: Where trials go by default: one place, so that another self-test adds to what is there.
FOLDER = "selftest"


class Kinds(click.ParamType[tuple[str, ...]]):
    """Names of kinds with commas between them; "all" is all of them."""

    name = "kinds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Returns the kinds, each once; BadParameter for a name that is none."""
        if isinstance(value, tuple):
            return value
        names = tuple(KINDS) if value == "all" else tuple(dict.fromkeys(value.split(",")))
        for name in names:
            if name not in KINDS:
                self.fail(f"there is no kind {name!r}; choose from all, {', '.join(KINDS)}", param, ctx)
        return names


def default_folder() -> Path:
    """The folder that trials go to by default."""
    return Path(os.environ.get("BNSUITE_OUT") or config.results()) / FOLDER


@click.command(
    short_help="Inject known faults; print detection and false-alarm rates.",
    help="Inject known faults, compare the suite with itself, print detection and false-alarm rates.",
)
@click.option(
    "--kind",
    "kinds",
    type=Kinds(),
    metavar="KIND[,KIND]",
    help=f"all, or some of {', '.join(KINDS)} (default: {','.join(DEFAULT)}; with --workload: "
    f"{','.join(WORKLOAD_DEFAULT)}).",
)
@click.option("--trials", type=options.WHOLE, default=1, metavar="N", help="Trials of each kind (default: 1).")
@options.budget
@click.option("--busy", is_flag=True, help="Let a process of ours work on another core all the while.")
@options.device
@options.profile
@named_files.workloads_alone
@click.option(
    "--out",
    type=options.PATH,
    metavar="DIR",
    help=f"Where trials go, beside those there (default: {FOLDER}/ in $BNSUITE_OUT or {RESULTS}/).",
)
@options.threads
@options.timeout
@options.config
@options.debug
def command(
    *,
    kinds: tuple[str, ...] | None,
    trials: int,
    budget: float | None,
    busy: bool,
    device: str,
    profile: str,
    workloads: tuple[str, ...],
    out: Path | None,
    threads: int,
    timeout: float,
) -> int:
    """Make trials and print the rates of all that are there; returns the exit status."""
    from bnsuite.cli.verdicts import compared_quietly
    from bnsuite.experiments.selftest import SelftestRequest, selftest
    from bnsuite.launch.plan import run_options
    from bnsuite.record.files import write_atomically
    from bnsuite.report.selftest import markdown, terminal

    checked = run_options(
        device=device,
        profile=profile,
        select=None,
        threads=threads,
        timeout_s=timeout,
        implementation=None,
        workloads=workloads,
        config=config.used(),
    )
    names = _names(checked) if workloads else ()
    chosen = _kinds(kinds, names)
    with ResultsFolder(out or default_folder()).claimed() as folder:
        request = SelftestRequest(
            kinds=chosen,
            trials=trials,
            options=checked,
            folder=folder,
            baselines=options.BASELINES,
            budget_s=budget,
            busy=busy,
            workloads=names,
        )
        result = selftest(request, compared_quietly, lines())
        write_atomically(folder.path / SELFTEST_REPORT, markdown(result))
    say(terminal(result, screen("never")))
    return result.status


def _names(checked: RunOptions) -> tuple[str, ...]:
    """Returns the names of the workloads in ids, such as ``workload/resnet18``; InputError if a file can't be used."""
    from bnsuite.launch.queries import catalogue

    cases = catalogue(checked.profile, "^workload/", None, workloads=checked.workloads)
    return tuple(dict.fromkeys("/".join(case.id.split("/")[:2]) for case in cases))


def _kinds(given: tuple[str, ...] | None, workloads: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the kinds of trials to make; InputError for one that workloads don't have."""
    if not workloads:
        return given or DEFAULT
    theirs = of_workloads(workloads)
    if given == tuple(KINDS):
        return tuple(theirs)
    if wrong := next((kind for kind in given or () if kind not in theirs), None):
        raise InputError(f"--kind {wrong}: needs the built-in cases; with --workload, choose from {', '.join(theirs)}")
    return given or WORKLOAD_DEFAULT
