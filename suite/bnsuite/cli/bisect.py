"""``bnsuite bisect``: which environment brought a change, of a list or of all between two."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from bnsuite.cli import config, index_options, options
from bnsuite.cli.options import MeasuringOptions
from bnsuite.cli.output import lines, remark, say
from bnsuite.record.errors import InputError
from bnsuite.record.folder import BISECT, ResultsFolder
from bnsuite.record.package_index import PackageIndex

if TYPE_CHECKING:
    from bnsuite.judge.bisect import BisectAnswer
    from bnsuite.record.schema import PlannedCase


class GateName(click.ParamType[str]):
    """The name of a gate."""

    name = "gate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns the name; BadParameter if there is no such gate."""
        from bnsuite.judge.gates import GATES  # takes half a second to import

        if value not in GATES:
            self.fail(f"there is no gate {value!r}; choose from {', '.join(GATES)}", param, ctx)
        return str(value)


@click.command(
    short_help="Find the release of torch, or the image, that brought a change.",
    help="Find the environment that brought a change, by interleaved comparisons. Name all of them, the oldest first, "
    "as ab takes them: the first is trusted, and the last shows the change. Or name two with --good and --bad.",
)
@click.argument("environments", nargs=-1, metavar="[ENVIRONMENT ...]")
@click.option(
    "--good",
    metavar="ENVIRONMENT",
    help="A release (torch==X.Y.Z) or image (docker:IMAGE) that is trusted; others up to --bad are listed.",
)
@click.option("--bad", metavar="ENVIRONMENT", help="A newer one of the same kind that shows the change.")
@click.option(
    "--gate", type=GateName(), metavar="GATE", help="The gate that must have regressed, such as timing (default: any)."
)
@index_options.package_index
@options.budget
@options.seed
@options.measuring
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON, its steps to stderr.")
def command(
    given: MeasuringOptions,
    *,
    environments: tuple[str, ...],
    good: str | None,
    bad: str | None,
    gate: str | None,
    index: PackageIndex | None,
    budget: float | None,
    seed: int | None,
    as_json: bool,
) -> int:
    """Search among environments; returns the exit status."""
    from bnsuite.cli.verdicts import compared
    from bnsuite.experiments.ab import ComparisonRequest
    from bnsuite.experiments.bisect import BisectRequest, EndedError, bisect
    from bnsuite.launch.environments.between import between
    from bnsuite.launch.queries import catalogue

    if given.select is None:
        raise InputError("bisect: no case is named; name one with -k, see `bnsuite list`")
    context = click.get_current_context()
    if any(config.is_given(context, one) for one in ("good", "bad")) and config.is_default(context, "environments"):
        environments = ()  # of a file, which the command line wins over
    if config.is_given(context, "environments") and environments:
        good, bad = (None if config.is_default(context, name) else one for name, one in (("good", good), ("bad", bad)))
    named, ends = _named(environments, good, bad, index)
    run_options = given.run_options()
    planned = catalogue(given.profile, given.select, given.data, case_files=given.cases, workloads=given.workloads)
    _require_cases(planned, given.select, gate)
    chosen = named or between(*ends, index)
    with given.folder.claimed() as folder:
        comparison = ComparisonRequest(
            a=chosen[0],
            b=chosen[-1],
            options=(run_options, run_options),
            folder=folder,
            data=given.data,
            baselines=given.baselines,
            seed=seed,
            budget_s=budget,
            index=index,
        )
        try:
            answer = bisect(BisectRequest(chosen, comparison, gate), compared, lines(remark if as_json else say))
        except EndedError as error:
            _show(error.answer, folder, as_json=as_json)
            raise error.cause from None
        _show(answer, folder, as_json=as_json)
    return answer.status


def _named(
    listed: tuple[str, ...], good: str | None, bad: str | None, index: PackageIndex | None
) -> tuple[tuple[str, ...], tuple[str, str]]:
    """Returns the list of environments, which is empty if two ends are named, and the ends.

    Raises InputError if they are not named in one way, or are not what can be searched.
    """
    from bnsuite.launch.environments import between

    if listed and (good is not None or bad is not None):
        raise InputError("bisect: names environments and --good or --bad; give either the list or the two options")
    if listed:
        index_options.require_release(index, listed)
        return between.named(listed, index), (listed[0], listed[-1])
    if good is None or bad is None:
        missing, other = ("--good", "--bad") if good is None else ("--bad", "--good")
        raise InputError(f"bisect: {missing} is missing; give it with {other}, or {between.ONE_BY_ONE}")
    index_options.require_release(index, (good, bad))
    between.require_ends(good, bad, index)
    return (), (good, bad)


def _show(answer: BisectAnswer, folder: ResultsFolder, *, as_json: bool) -> None:
    """Print the answer, then write it: what took hours is printed even where nothing can be written any more."""
    from bnsuite.record.files import write_atomically
    from bnsuite.report import bisect

    text = bisect.as_json(answer)
    say(text if as_json else bisect.sentence(answer))
    write_atomically(folder.path / BISECT, text + "\n")


def _require_cases(cases: Iterable[PlannedCase], select: str, gate: str | None) -> None:
    """Raise InputError if no case is compared, or none by the gate that was named."""
    from bnsuite.launch.plan import NOT_COMPARED

    compared = [case for case in cases if case.kind != "ratio"]
    if not compared:
        raise InputError(f"-k {select!r} {NOT_COMPARED}")
    if gate is not None and not any(gate in case.gates for case in compared):
        raise InputError(
            f"--gate {gate}: judges none of the cases that -k {select!r} matches; `bnsuite list -k {select!r}` shows "
            "their gates"
        )
