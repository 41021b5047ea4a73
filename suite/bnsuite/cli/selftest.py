"""``bnsuite selftest``: the suite against itself, with nothing changed and with known faults in B's place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from bnsuite.cli import config, options
from bnsuite.cli.output import lines, say, screen
from bnsuite.experiments.trials import DEFAULT, KINDS
from bnsuite.record.folder import RESULTS, SELFTEST_REPORT, ResultsFolder

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
    default=DEFAULT,
    metavar="KIND[,KIND]",
    help=f"all, or some of {', '.join(KINDS)} (default: {','.join(DEFAULT)}).",
)
@click.option("--trials", type=options.WHOLE, default=1, metavar="N", help="Trials of each kind (default: 1).")
@options.budget
@click.option("--busy", is_flag=True, help="Let a process of ours work on another core all the while.")
@options.device
@options.profile
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
    kinds: tuple[str, ...],
    trials: int,
    budget: float | None,
    busy: bool,
    device: str,
    profile: str,
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
        config=config.used(),
    )
    with ResultsFolder(out or default_folder()).claimed() as folder:
        request = SelftestRequest(
            kinds=kinds,
            trials=trials,
            options=checked,
            folder=folder,
            baselines=options.BASELINES,
            budget_s=budget,
            busy=busy,
        )
        result = selftest(request, compared_quietly, lines())
        write_atomically(folder.path / SELFTEST_REPORT, markdown(result))
    say(terminal(result, screen("never")))
    return result.status
