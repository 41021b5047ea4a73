"""Options that several verbs share, checked once into frozen values; the only home of defaults and variables."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from bnsuite.cli.parameters import Duration, PathType, Positive
from bnsuite.launch.plan import PLANS, case_files, run_options
from bnsuite.launch.supports import parse as parse_supports
from bnsuite.record.errors import InputError
from bnsuite.record.folder import LATEST, RESULTS, ResultsFolder
from bnsuite.record.schema import RunOptions
from bnsuite.report.detail import Detail

F = TypeVar("F", bound=Callable[..., Any])

CASES_VARIABLE, WORKLOADS_VARIABLE = "BNSUITE_CASES", "BNSUITE_WORKLOADS"
#: What is measured where workloads are named and nothing else is.
WORKLOADS_ALONE = "^workload/ or ^numerics/workload/ or ^behaviour/workload/"
#: The file that GitHub shows as the summary of a step of a job.
SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
#: The folder of baselines, where none is named.
BASELINES = Path("baselines")


def _given_as(ctx: click.Context, name: str) -> str | None:
    """Returns the option or the variable that the value of a parameter was given by; None for a default."""
    source = ctx.get_parameter_source(name)
    param = next(one for one in ctx.command.params if one.name == name)
    if source is ParameterSource.ENVIRONMENT:
        return str(param.envvar)
    return None if source in {ParameterSource.DEFAULT, None} else param.opts[0]


def existing_data(ctx: click.Context, value: Path | None) -> Path | None:
    """The folder of images, which must be there if one was named."""
    if value is not None and not value.is_dir():
        name = _given_as(ctx, "data_dir")
        raise InputError(f"{name} {value}: there is no such folder; make it, and images are downloaded into it")
    return value


def existing_baselines(ctx: click.Context, value: Path | None) -> Path:
    """The folder of baselines, which must be there if one was named."""
    from bnsuite.record.files import exists

    name = _given_as(ctx, "baselines")
    if value is not None and name is not None:
        if exists(value) and not value.is_dir():
            raise InputError(f"{name} {value}: is a file; name a folder")
        if not value.is_dir():
            raise InputError(f"{name} {value}: there is no such folder; `bnsuite accept` makes one")
    return value or BASELINES


def _case_files(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG001
    variable = os.environ.get(CASES_VARIABLE, "")
    return tuple(dict.fromkeys([*case_files([variable], CASES_VARIABLE), *case_files(value, "--cases")]))


def _workloads(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG001
    variable = os.environ.get(WORKLOADS_VARIABLE, "")
    return tuple(dict.fromkeys([*case_files([variable], WORKLOADS_VARIABLE), *case_files(value, "--workload")]))


def chosen(select: str | None, cases: tuple[str, ...], workloads: tuple[str, ...]) -> str | None:
    """Returns the expression of -k; where it is not given, workloads are measured by themselves."""
    return WORKLOADS_ALONE if select is None and workloads and not cases else select


def _baselines(callback: Callable[..., Path] | None) -> Callable[[F], F]:
    return click.option(
        "--baselines",
        type=PathType(),
        envvar="BNSUITE_BASELINES",
        metavar="DIR",
        callback=callback,
        help="Accepted references (default: $BNSUITE_BASELINES or baselines/).",
    )


def _data(callback: Callable[..., Path | None] | None) -> Callable[[F], F]:
    return click.option(
        "--data-dir",
        type=PathType(),
        envvar="BNSUITE_DATA",
        metavar="DIR",
        callback=callback,
        help="MNIST and Fashion-MNIST in torchvision's layout (default: $BNSUITE_DATA or ~/.cache/bnsuite).",
    )


PATH, WHOLE, NUMBER = PathType(), Positive(whole=True), Positive(whole=False)

baselines = _baselines(lambda ctx, _param, value: existing_baselines(ctx, value))
#: For a verb that makes the folder, or that needs it only with some of its options.
baselines_unchecked = _baselines(lambda _ctx, _param, value: value or BASELINES)
debug = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
select = click.option(
    "-k",
    "select",
    metavar="EXPR",
    help="Only the cases whose id contains the words, as in 'batch_norm2d and not nhwc', or begins with one, as in "
    "'^train/' (all trainings).",
)
data = _data(lambda ctx, _param, value: existing_data(ctx, value))
data_unchecked = _data(None)
cases = click.option(
    "--cases",
    multiple=True,
    metavar="FILE.py[:NAME]",
    callback=_case_files,
    help="Measure the cases of this file as well; repeatable (also: $BNSUITE_CASES).",
)


def _workload_option(help_: str) -> Callable[[F], F]:
    return click.option(
        "--workload",
        "workloads",
        multiple=True,
        metavar="FILE.py[:NAME]",
        callback=_workloads,
        help=f"{help_}; repeatable (also: ${WORKLOADS_VARIABLE}).",
    )


workloads = _workload_option("Measure this module or step of your own, and without -k and --cases nothing else")
workloads_alone = _workload_option("Compare this module or step of your own in the place of built-in cases")


def _device(help_: str) -> Callable[[F], F]:
    return click.option("--device", default="auto", metavar="DEVICE", help=help_)


device = _device("auto (default), cpu, cuda or cuda:N.")
#: For the verb that measures every GPU of a node as well.
device_or_all = _device("auto (default), cpu, cuda, cuda:N, or cuda:all for every GPU, each by itself.")
profile = click.option(
    "--profile", default="quick", type=click.Choice(tuple(PLANS)), help="How much is measured (default: quick)."
)
threads = click.option("--threads", type=WHOLE, default=1, metavar="N", help="CPU threads (default: 1).")
timeout = click.option(
    "--timeout", type=NUMBER, default=300.0, metavar="S", help="Seconds that a case may take (default: 300)."
)


def supports(name: str) -> Callable[[F], F]:
    """Returns the option, called `name`, for what an implementation supports: lists of words by name, or None."""
    return click.option(
        name,
        "supports",
        multiple=True,
        metavar="NAME=WORD[,WORD][;...]",
        callback=lambda _ctx, _param, value: parse_supports(value, name),
        help="The inputs and layers that it supports, as in 'dims=2;dtypes=float32'; others are SKIPPED. Repeatable.",
    )


out = click.option(
    "--out",
    type=PATH,
    envvar="BNSUITE_OUT",
    metavar="DIR",
    help=f"Where results go (default: $BNSUITE_OUT or {RESULTS}/TIME).",
)
budget = click.option("--budget", type=Duration(), metavar="TIME", help="End after 90s, 10m or 2h, decided or not.")
seed = click.option(
    "--seed", type=int, metavar="N", help="Seed of the order of cases and sides (default: drawn, and recorded)."
)
strict = click.option(
    "--strict", is_flag=True, help="Exit with status 3 if any case is INCONCLUSIVE, NO_BASELINE or SKIPPED."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print findings as JSON.")
_COLOR_HELP = "Colours: auto (on a terminal without $NO_COLOR; the default), always or never."
run_argument = click.argument("run", type=PATH, envvar="BNSUITE_OUT", default=LATEST, metavar="RUN")


def last_run() -> Path:
    """The folder of the last run, if it went where runs go by themselves."""
    return Path(os.environ.get("BNSUITE_OUT") or LATEST)


def step_summary() -> Path | None:
    """The file of a GitHub step's summary, if this is one."""
    named = os.environ.get(SUMMARY_VARIABLE)
    return Path(named) if named else None


def on_command_line(context: click.Context, name: str) -> bool:
    """Returns True if a value was given as an option, and not by a variable or a default."""
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


#: The default of RUN in words.
LAST = f"RUN is the folder of a run (default: $BNSUITE_OUT, or {LATEST})."


@dataclass(frozen=True)
class MeasuringOptions:
    """The options of every verb that measures."""

    device: str
    profile: str
    select: str | None
    #: Files of the user's cases, absolute.
    cases: tuple[str, ...]
    #: Workloads of the user's, likewise.
    workloads: tuple[str, ...]
    threads: int
    timeout_s: float
    folder: ResultsFolder
    #: The folder of images, if one was named.
    data: Path | None
    baselines: Path

    def run_options(
        self,
        implementation: str | None = None,
        environment: str = ".",
        supports: Mapping[str, tuple[str, ...]] | None = None,
        functions: Mapping[str, str] | None = None,
    ) -> RunOptions:
        """The options of one run, checked as far as can be without starting anything; raises InputError."""
        return run_options(
            device=self.device,
            profile=self.profile,
            select=self.select,
            threads=self.threads,
            timeout_s=self.timeout_s,
            implementation=implementation,
            cases=self.cases,
            workloads=self.workloads,
            environment=environment,
            supports=supports,
            functions=functions,
        )


@dataclass(frozen=True)
class ShowOptions:
    """The options of every verb that prints verdicts."""

    as_json: bool
    detail: Detail
    #: "auto", "always" or "never".
    color: str

    @property
    def quiet(self) -> bool:
        return self.detail is Detail.LAST_LINE


def showing(function: Callable[..., int]) -> Callable[..., int]:
    """Give a verb the options of printing verdicts, as one `ShowOptions` named `show`."""

    @functools.wraps(function)
    def verb(*args: Any, as_json: bool, every_row: bool, quiet: bool, color: str, **rest: Any) -> int:
        given = [name for name, one in (("--json", as_json), ("--all", every_row), ("--quiet", quiet)) if one]
        if len(given) > 1:
            raise click.UsageError(f"{given[0]}: not allowed with {given[1]}", click.get_current_context())
        detail = Detail.EVERYTHING if every_row else Detail.LAST_LINE if quiet else Detail.NEWS
        return function(*args, show=ShowOptions(as_json, detail, color), **rest)

    for option in (
        click.option("--color", type=click.Choice(("auto", "always", "never")), default="auto", help=_COLOR_HELP),
        click.option("-q", "--quiet", is_flag=True, help="Print the last line alone."),
        click.option("--all", "every_row", is_flag=True, help="Print every case as a row of a table as well."),
        as_json,
    ):
        verb = option(verb)
    return verb


def results_folder(path: Path | None) -> ResultsFolder:
    """The folder that was named, or one named by the time."""
    from bnsuite.report.writers import OUTPUTS

    return ResultsFolder.of_now(OUTPUTS) if path is None else ResultsFolder(path, OUTPUTS)


def measuring(function: Callable[..., int]) -> Callable[..., int]:
    """Give a verb the options of measuring, as one `MeasuringOptions` in its first argument."""
    return _measuring(function, device)


def measuring_any(function: Callable[..., int]) -> Callable[..., int]:
    """Give a verb the same options, of which the device may be all GPUs of a node."""
    return _measuring(function, device_or_all)


def _measuring(function: Callable[..., int], device_option: Callable[..., Any]) -> Callable[..., int]:

    @functools.wraps(function)
    def verb(
        *,
        device: str,
        profile: str,
        select: str | None,
        cases: tuple[str, ...],
        workloads: tuple[str, ...],
        threads: int,
        timeout: float,
        out: Path | None,
        data_dir: Path | None,
        baselines: Path,
        **rest: Any,
    ) -> int:
        given = MeasuringOptions(
            device=device,
            profile=profile,
            select=chosen(select, cases, workloads),
            cases=cases,
            workloads=workloads,
            threads=threads,
            timeout_s=timeout,
            folder=results_folder(out),
            data=data_dir,
            baselines=baselines,
        )
        return function(given, **rest)

    for option in (debug, baselines, data, timeout, threads, out, workloads, cases, select, profile, device_option):
        verb = option(verb)
    return verb
