"""The page of the command line, made from click's parsers."""

from __future__ import annotations

import click

from bnsuite.cli.command import DEFAULT, STATUSES, VERB_GROUP, VERBS
from pages.markdown import code, paragraph, table

#: Options that are accepted for the sake of old scripts.
OLD_NAMES = {"--plant"}

HEAD = f"""# Command line

This page is made from the parser by `make reference`. `bnsuite VERB --help` prints the same.

`bnsuite` without a verb is `bnsuite {DEFAULT}`. `-h` and `--help` describe the command or a verb, `bnsuite help VERB`
is the same as `bnsuite VERB --help`, and `bnsuite --version` prints the version. Shell completion is switched on by

```sh
eval "$(_BNSUITE_COMPLETE=bash_source bnsuite)"    # also zsh_source, fish_source
```

Exit status: {STATUSES}. [Verdicts and exit statuses](verdicts.md) describes them.
"""


def commands() -> dict[str, click.Command]:
    """Returns the command of each verb."""
    context = click.Context(VERB_GROUP)
    found = {verb: VERB_GROUP.get_command(context, verb) for verb in VERBS}
    return {verb: command for verb, command in found.items() if command is not None}


def page() -> str:
    """Returns the text of the page."""
    made = commands()
    summary = table(
        ("verb", "does"),
        [(f"[`{verb}`](#bnsuite-{verb})", _cell(one.get_short_help_str(200))) for verb, one in made.items()],
    )
    sections = [_section(verb, command) for verb, command in made.items()]
    return "\n".join([HEAD, summary, "", *sections]).rstrip() + "\n"


def _section(verb: str, command: click.Command) -> str:
    context = click.Context(command, info_name=verb)
    usage = " ".join(["bnsuite", verb, *command.collect_usage_pieces(context)])
    options = [one for one in command.params if isinstance(one, click.Option)]
    rows = [(_names(one, context), _cell(one.help or ""), _variable(one)) for one in options]
    parts = [f"## `bnsuite {verb}`", paragraph(command.help or ""), f"```text\n{usage}\n```"]
    return "\n\n".join([*parts, table(("option", "description", "variable"), rows)]) + "\n"


def _names(option: click.Option, context: click.Context) -> str:
    names = [name for name in (*option.opts, *option.secondary_opts) if name not in OLD_NAMES]
    value = "" if option.is_flag or option.count else option.make_metavar(context)
    return ", ".join(code(f"{name} {value}".strip()) for name in names)


def _variable(option: click.Option) -> str:
    variable = option.envvar
    return code(variable) if isinstance(variable, str) else ""


def _cell(text: str) -> str:
    """Returns help as it stands in a table; what Markdown would read as markup is code."""
    return paragraph(text).replace("<", "&lt;").replace("*", "\\*")
