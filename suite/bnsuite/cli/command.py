"""From arguments to exit status: the verbs, and every error as one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click
from click.shell_completion import CompletionItem, shell_complete

from bnsuite import __version__
from bnsuite.cli import config, output
from bnsuite.launch.process import interrupts
from bnsuite.record.errors import InputError

#: The verbs, and the modules of their commands, which are imported when they are needed. Without a verb: run.
VERBS = {
    "run": "run",
    "list": "list_cases",
    "ab": "ab",
    "bisect": "bisect",
    "check": "check",
    "accept": "accept",
    "calibrate": "calibrate",
    "show": "show",
    "report": "report",
    "export": "export",
    "claims": "claims",
    "figures": "figures",
    "selftest": "selftest",
    "doctor": "doctor",
}
DEFAULT = "run"
STATUSES = "0 nothing wrong, 1 a regression, 2 usage or unusable input, 3 not measured as asked"
#: Set by a shell that asks for completions.
COMPLETION_VARIABLE = "_BNSUITE_COMPLETE"


class Verbs(click.Group):
    """The group of all verbs; options without a verb are those of DEFAULT."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Returns the verbs in the order of their declaration."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return the command of a verb; None for a word that is no verb."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"bnsuite.cli.{VERBS[cmd_name]}").command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse `args`, with DEFAULT as the verb where they name none."""
        before = args[:1] if args[:1] == ["--debug"] else []
        rest = args[len(before) :]
        first = rest[0] if rest else ""
        if first == "help":
            args = [*rest[1:2], "--help"]
        elif first.startswith("-") and first not in {"-h", "--help", "--version"}:
            args = [*before, DEFAULT, *rest]
        elif not rest and not ctx.resilient_parsing:
            args = [*before, DEFAULT]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Returns the verb's name, its command and the other arguments; UsageError for a word that is no verb."""
        if args[0] not in VERBS and not ctx.resilient_parsing:
            raise click.UsageError(f"{args[0]!r} is not a verb; choose from {', '.join(VERBS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the usage line."""
        formatter.write_usage("bnsuite", "[VERB] [OPTION ...]")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs, then the options of the verb that runs without being named."""
        self.format_commands(ctx, formatter)
        default = self.get_command(ctx, DEFAULT)
        assert default is not None
        with formatter.section(f"Options of {DEFAULT}, the verb that may be left out"):
            formatter.write_dl([row for one in default.get_params(ctx) if (row := one.get_help_record(ctx))])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Returns verbs, and where an option is begun those of DEFAULT."""
        default = self.get_command(ctx, DEFAULT)
        assert default is not None
        found = super().shell_complete(ctx, incomplete)
        return [*found, *default.shell_complete(ctx, incomplete)] if incomplete.startswith("-") else found


VERB_GROUP = Verbs(
    name="bnsuite",
    help="Measure this environment, judge it and print the verdicts; or do what a verb says.",
    epilog=f"Exit status: {STATUSES}. `bnsuite VERB --help` describes a verb.",
    params=[
        click.Option(["--debug"], is_flag=True, expose_value=False, help="Show the traceback of an error."),
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)
click.version_option(__version__, prog_name="bnsuite", message="%(prog)s %(version)s")(VERB_GROUP)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status (see ``judge/verdict.py``)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    output.prepare()
    if instruction := os.environ.get(COMPLETION_VARIABLE):
        return shell_complete(VERB_GROUP, {}, "bnsuite", COMPLETION_VARIABLE, instruction)
    interrupts.raise_interrupt()
    try:
        return _invoke(arguments)
    except KeyboardInterrupt as error:
        return _fail(error, interrupts.STATUS, "interrupted", debug=debug)
    except Exception as error:  # noqa: BLE001  # the last resort: still one line and a status that is no verdict
        return _fail(error, *output.status_of(error), debug=debug)


def _invoke(arguments: list[str]) -> int:
    """Parse and run; click's own errors become InputError."""
    context: click.Context | None = None
    try:
        with VERB_GROUP.make_context("bnsuite", arguments) as context:
            status: int | None = VERB_GROUP.invoke(context)
            return int(status or 0)
    except click.exceptions.Exit as ended:  # --help and --version
        return ended.exit_code
    except click.ClickException as error:
        raise InputError(_said(error, context)) from None
    except InputError as error:
        said = config.blamed(str(error), context) if context is not None else str(error)
        if said == str(error):
            raise
        raise InputError(said) from error


def _said(error: click.ClickException, of_group: click.Context | None) -> str:
    """An error of usage in one line that names the option, or the file that gave its value, and the help."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    text = error.format_message()
    text = f"{text[:1].lower()}{text[1:]}"
    if (
        isinstance(error, click.BadParameter)
        and error.param is not None
        and not isinstance(error, click.MissingParameter)
    ):
        text = f"{_name(error.param)}: {error.message}"
    text = config.blamed(text, of_group) if of_group is not None else text
    text = " ".join(text.split()).rstrip(".").replace(". Did you mean", "; did you mean")
    return f"{text}; see `{context.command_path if context else 'bnsuite'} --help`"


def _name(param: click.Parameter) -> str:
    return param.opts[0] if isinstance(param, click.Option) else param.make_metavar(click.Context(VERB_GROUP))


def _fail(error: BaseException, status: int, text: str, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    output.remark(text)
    return status
