"""Options that name files of cases and workloads, and what is measured where they are all that is named."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from bnsuite.cli import config
from bnsuite.launch.plan import case_files

F = TypeVar("F", bound=Callable[..., Any])

CASES_VARIABLE, WORKLOADS_VARIABLE = "BNSUITE_CASES", "BNSUITE_WORKLOADS"
#: What is measured where workloads are named and nothing else is.
WORKLOADS_ALONE = "^workload/ or ^numerics/workload/ or ^behaviour/workload/"


def _files(variable: str) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], tuple[str, ...]]:
    """Returns what reads an option that may be repeated, and its variable, which adds to it."""

    def files(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
        named = case_files([os.environ.get(variable, "")], variable)
        if named and not config.is_given(ctx, str(param.name)):
            value = ()  # of a file
            ctx.set_parameter_source(str(param.name), ParameterSource.ENVIRONMENT)
        return tuple(dict.fromkeys([*named, *case_files(value, param.opts[0])]))

    return files


def chosen(select: str | None, cases: tuple[str, ...], workloads: tuple[str, ...]) -> str | None:
    """Returns the expression of -k; where it is not given, workloads are measured by themselves.

    That of a file is no choice among files that are named by an option or a variable.
    """
    context = click.get_current_context()
    if config.is_default(context, "select") and any(config.is_given(context, one) for one in ("cases", "workloads")):
        select = None
    return WORKLOADS_ALONE if select is None and workloads and not cases else select


cases = click.option(
    "--cases",
    multiple=True,
    metavar="FILE.py[:NAME]",
    callback=_files(CASES_VARIABLE),
    help="Measure the cases of this file as well; repeatable (also: $BNSUITE_CASES).",
)


def _workload_option(help_: str) -> Callable[[F], F]:
    return click.option(
        "--workload",
        "workloads",
        multiple=True,
        metavar="FILE.py[:NAME]",
        callback=_files(WORKLOADS_VARIABLE),
        help=f"{help_}; repeatable (also: ${WORKLOADS_VARIABLE}).",
    )


workloads = _workload_option("Measure this module or step of your own, and without -k and --cases nothing else")
workloads_alone = _workload_option("Compare this module or step of your own in the place of built-in cases")
