"""``bnsuite ab``: whether B is as fast, as small, as right and as trainable as A."""

from __future__ import annotations

import click

from bnsuite.cli import config, functions, index_options, options, parameters
from bnsuite.cli.options import MeasuringOptions, ShowOptions
from bnsuite.cli.run import require_environment
from bnsuite.record.package_index import PackageIndex


@click.command(
    help="Compare two environments, interleaved: A is trusted, B is judged. Each is . (this interpreter), python:PATH, "
    "torch==X.Y.Z or docker:IMAGE. A timed case takes from half a minute to some minutes; -k chooses cases, --budget "
    "limits the whole.",
    short_help="Compare two environments; B is judged by A.",
)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@options.measuring
@click.option("--impl-b", metavar="MODULE:FACTORY", help="Judge this batch norm in place of B's (or FILE.py:FACTORY).")
@options.supports("--supports-b")
@functions.options("-b")
@index_options.package_index
@options.budget
@options.seed
@click.option(
    "--inject",
    "--plant",
    "injected",
    type=parameters.Fault(),
    metavar="FAULT",
    help="Inject a known fault into B: slower=0.03 (a share), holds=2097152 (bytes) or spins=1 (threads).",
)
@options.strict
@options.showing
def command(
    given: MeasuringOptions,
    *,
    a: str,
    b: str,
    impl_b: str | None,
    supports: dict[str, tuple[str, ...]] | None,
    functions: dict[str, str],
    index: PackageIndex | None,
    budget: float | None,
    seed: int | None,
    injected: dict[str, float] | None,
    strict: bool,
    show: ShowOptions,
) -> int:
    """Compare two environments and judge B; returns the exit status."""
    from bnsuite.cli.verdicts import comparison_made, show_report

    context = click.get_current_context()
    if options.on_command_line(context, "a") and not options.on_command_line(context, "b"):
        raise click.UsageError("only A is named; name both A and B, or neither if a file names them", context)
    from bnsuite.experiments.ab import ComparisonRequest

    for name, environment in (("A", a), ("B", b)):
        if config.is_default(context, name.lower()):
            require_environment(name, environment)
    index_options.require_release(index, (a, b))
    request = ComparisonRequest(
        a=a,
        b=b,
        options=(given.run_options(), given.run_options(impl_b, supports=supports, functions=functions)),
        folder=given.folder,
        data=given.data,
        baselines=given.baselines,
        seed=seed,
        budget_s=budget,
        injected=injected or {},
        index=index,
    )
    result, report, unwritten = comparison_made(request, strict=strict, stages=not show.quiet)
    result.folder.point_latest_here()
    return show_report(report, show, unwritten)
