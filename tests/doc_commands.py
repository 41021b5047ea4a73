"""The commands in README and docs: found in the text, and checked by the real parser or against what is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from bnsuite.cli.command import DEFAULT, VERB_GROUP, VERBS
from bnsuite.cli.config import KEYS
from conftest import ROOT

#: Verbs, options of a verb (with "VALUE" after one that takes a value) and files that documents name and that are not
#: there yet. To be empty after the merge; a test fails for an entry that is there.
PENDING: tuple[str, ...] = ()

#: Options of `docker run` that documents use, and whether each takes a value.
DOCKER = {
    "--rm": False,
    "--read-only": False,
    "--network": True,
    "--tmpfs": True,
    "--pid": True,
    "--user": True,
    "--gpus": True,
    "--volume": True,
    "-v": True,
    "-e": True,
    "--cpuset-cpus": True,
    "--shm-size": True,
}

#: The page whose commands take from a file what they lack.
CONFIGURED = "docs/how-to/configure.md"
#: A line of a block or an inline code that is a command: perhaps with variables before it.
COMMAND = re.compile(r"(?:\$ )?((?:[A-Z_]+=\S+ )*(?:bnsuite(?= |$)|docker run |make |pytest suite).*)")
#: Words in capitals stand for what a user fills in.
PLACEHOLDER = re.compile(r"[A-Z]+(?:_[A-Z]+)*")
#: Blocks in these languages hold no commands, but output, files or directives.
NOT_COMMANDS = {"text", "json", "python", "yaml", "toml", "ini", "csv", "xml", "promql"}


class WrongCommandError(Exception):
    """A command that a document shows can't be given; the message says why."""


@dataclass(frozen=True)
class Command:
    """One command of a document."""

    page: str
    line: int
    text: str
    #: In running text, where `bnsuite accept` may stand for the verb alone.
    inline: bool

    @property
    def words(self) -> list[str]:
        """The words of the command, without variables before it and without what follows it on the line."""
        lexer = shlex.shlex(self.text, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if set(word) <= set("();<>|&"):
                break
            words.append(word)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            del words[0]
        return words


def commands(page: str, text: str) -> Iterator[Command]:
    """Yields the commands of a page: lines of blocks, and inline code."""
    for number, code, inline in _code(text):
        if found := COMMAND.fullmatch(code):
            alone = found[1] if inline else re.split(r" {3,}", found[1])[0]  # a column beside it describes it
            yield Command(page, number, alone, inline)


def _code(text: str) -> Iterator[tuple[int, str, bool]]:
    """Yields code with the number of its line: lines of blocks, joined where they continue, and inline code."""
    held, start = "", 0
    for number, line, block in _lines(text):
        if not block:
            yield from ((number, code, True) for code in re.findall(r"`([^`]+)`", line))
            continue
        held, start = f"{held} {line.strip()}".strip(), start or number
        if held.endswith("\\"):
            held = held.removesuffix("\\").strip()
        else:
            yield start, held, False
            held, start = "", 0


def _lines(text: str) -> Iterator[tuple[int, str, bool]]:
    """Yields each line but those of blocks in other languages, and whether it belongs to a block."""
    fence, language = "", ""
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.strip()
        if marker := re.match(r"(`{3,}|~{3,})(.*)", bare):
            if not fence:
                fence, language = marker[1], marker[2].strip().strip("{}")
            elif bare.startswith(fence) and not marker[2]:
                fence = ""
        elif not fence or language not in NOT_COMMANDS:
            yield number, line, bool(fence) or line.startswith("    ")


def check(command: Command) -> None:
    """Raise WrongCommandError for a command that can't be given."""
    words = command.words
    if words[0] == "make":
        _check_make(words[1:])
    elif words[0] == "docker":
        _check_docker(words[2:])
    elif words[0] == "bnsuite":
        _check_bnsuite(words[1:], inline=command.inline, configured=command.page == CONFIGURED)
    for path in named_files(command.text):
        require_file(path)


def _check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    for word in words:
        if word not in targets and "=" not in word and not PLACEHOLDER.fullmatch(word):
            raise WrongCommandError(f"make has no target {word}")


def _check_docker(words: list[str]) -> None:
    rest = list(words)
    while rest and rest[0].startswith("-"):
        name, equals, _ = rest.pop(0).partition("=")
        if name not in DOCKER:
            raise WrongCommandError(f"docker run {name} is not known here; add it to DOCKER if it is right")
        if DOCKER[name] and not equals:
            del rest[:1]
    if not rest:
        raise WrongCommandError("docker run names no image")
    if rest[0] == "bnsuite":
        _check_bnsuite(rest[1:])


def _check_bnsuite(words: list[str], *, inline: bool = False, configured: bool = False) -> None:
    """Parse as click does, but call nothing: no file is looked for and nothing is measured."""
    verb, rest = split_verb(words)
    if verb is None or verb in PENDING or (inline and not rest):
        return
    command = VERB_GROUP.get_command(click.Context(VERB_GROUP), verb)
    assert command is not None
    context = click.Context(command, info_name=f"bnsuite {verb}")
    try:
        values, left, _ = command.make_parser(context).parse_args(without_pending(verb, rest))
        if values.get("help"):
            return
        if left:
            raise WrongCommandError(f"bnsuite {verb} takes no {left[0]}")
        by_file = {key.param for key in KEYS.values() if verb in key.verbs} if configured else set()
        for param in command.params:
            _check_value(param, values.get(param.name or ""), context, by_file=param.name in by_file)
        if verb == "bisect" and not configured and not isinstance(values.get("environments"), tuple):
            for option in ("good", "bad"):
                if not isinstance(values.get(option), str):
                    raise WrongCommandError(f"--{option} is missing")
    except click.UsageError as error:
        raise WrongCommandError(f"bnsuite {verb}: {error.format_message()}") from error


def split_verb(words: list[str]) -> tuple[str | None, list[str]]:
    """Returns the verb and the other words; None for a command that has none to check (`bnsuite --version`)."""
    words = [word for word in words if word != "--debug"]
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    if not words or (words[0].startswith("-") and words[0] not in {"-h", "--help", "--version"}):
        return DEFAULT, words
    if words[0] in {"-h", "--help", "--version"} or PLACEHOLDER.fullmatch(words[0]):
        return None, words
    if words[0] not in VERBS and words[0] not in PENDING:
        raise WrongCommandError(f"bnsuite has no verb {words[0]}")
    return words[0], words[1:]


def pending_options(verb: str) -> dict[str, bool]:
    """Returns the options that a verb will have, and whether each takes a value."""
    entries = [entry.split() for entry in PENDING if entry.startswith(f"{verb} ")]
    return {name: bool(value) for _, name, *value in entries}


def without_pending(verb: str, words: list[str]) -> list[str]:
    """Returns words without the options that the verb will have, and their values."""
    pending = pending_options(verb)
    kept: list[str] = []
    rest = list(words)
    while rest:
        name, equals, _ = (word := rest.pop(0)).partition("=")
        if name not in pending:
            kept.append(word)
        elif pending[name] and not equals:
            del rest[:1]
    return kept


def _check_value(param: click.Parameter, value: object, context: click.Context, *, by_file: bool) -> None:
    """Convert a value as click would; a placeholder stands for a right one."""
    absent = value is None or repr(value).startswith("Sentinel")
    if absent and param.required and not by_file:
        raise WrongCommandError(f"{param.opts[0]} is missing")
    given = value if isinstance(value, list | tuple) else [value]
    if absent or not all(isinstance(one, str) for one in given):
        return
    for one in given:
        if not PLACEHOLDER.fullmatch(str(one)):
            param.type.convert(one, param, context)


def named_files(text: str) -> set[str]:
    """Returns the paths in `text` that begin with a file or folder at the top of this repository."""
    tops = {path.name for path in ROOT.iterdir() if path.name not in OWN} | {entry.split("/")[0] for entry in PENDING}
    found = re.findall(r"(?<![\w./$~-])((?:\.?[\w-]+)(?:/[\w.+=-]+)*/?)", text)
    paths = {path.rstrip("/.") for path in found}
    return {path for path in paths if path.split("/")[0] in tops and ("/" in path or "." in path)}


#: Folders of this repository that a user has as well, under the same name.
OWN = {"results", "baselines", "build", ".venv"}


def require_file(path: str) -> None:
    """Raise WrongCommandError for a file that is not in this repository."""
    made = path.startswith("docs/_build")
    if made or PLACEHOLDER.search(path) or any(path == entry or path.startswith(f"{entry}/") for entry in PENDING):
        return
    if not (ROOT / path).exists():
        raise WrongCommandError(f"there is no {path}")


def pages() -> list[Path]:
    """Returns all documents that users read."""
    docs = [path for path in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in path.parts]
    new = ROOT / "README.new.md"  # until it is README.md
    readme = new if new.exists() else ROOT / "README.md"
    return [readme, ROOT / "CONTRIBUTING.md", ROOT / "baselines/README.md", *docs]


def all_commands() -> list[Command]:
    """Returns the commands of all documents."""
    found = []
    for page in pages():
        found += commands(str(page.relative_to(ROOT)), page.read_text(encoding="utf-8"))
    return found
