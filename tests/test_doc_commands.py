"""Every command that README and docs show: parsed by the real parser, and run where that takes seconds."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import click
import pytest
from _pytest.mark.expression import Expression

from bnsuite.cli import main
from bnsuite.cli.command import VERB_GROUP, VERBS
from conftest import ROOT
from doc_commands import (
    DOCKER,
    PENDING,
    PLACEHOLDER,
    WrongCommandError,
    all_commands,
    check,
    commands,
    named_files,
    pages,
    pending_options,
    require_file,
    split_verb,
)
from test_migration import ARCHIVE

COMMANDS = all_commands()
#: Verbs whose commands are run, on a sample where they take a folder.
RUN = ("list", "show", "check", "claims", "report", "export", "doctor")
#: What makes a command take minutes, an engine, a network or files of the user.
NOT_RUN = ("--confirm", "--against", "--measure", "--cases", "--workload", "--data-dir", "--baselines")


#: A page with commands, and with what only looks like one.
PAGE = """\
Use `bnsuite list -k cnn`, or `bnsuite accept`; bnsuite is not a command here, nor is `bnsuite.cases`.
```sh
docker run --rm \\
  bnsuite --device cpu  # a comment
$ make bench
```

    BNSUITE_OUT=x bnsuite   measures this machine
```text
bnsuite 0.4.0 · quick · cpu
```
"""


def test_documents_have_commands() -> None:
    """The search finds those of each kind, in blocks and in running text."""
    assert len(COMMANDS) > 100
    assert {command.words[0] for command in COMMANDS} == {"bnsuite", "make", "docker", "pytest"}
    assert {command.inline for command in COMMANDS} == {True, False}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_shown(verb: str) -> None:
    """Each verb stands in a command of a page that is written by hand."""
    generated = {"docs/reference/command-line.md"}
    words = [one.words for one in COMMANDS if one.page not in generated and one.words[0] == "bnsuite"]
    assert any(split_verb(one[1:])[0] == verb for one in words)


def test_every_command_can_be_given() -> None:
    """Verbs, options, values, targets of make and files of every command are there."""
    wrong = []
    for command in COMMANDS:
        try:
            check(command)
        except WrongCommandError as error:
            wrong.append(f"{command.page}:{command.line}: {command.text}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bnsuite --devise cpu", "No such option '--devise'"),
        ("bnsuite measure", "no verb measure"),
        ("bnsuite --profile quickly", "'quickly' is not one of"),
        ("bnsuite ab . . --budget soon", "no duration"),
        ("bnsuite ab .", "Missing argument|is missing"),
        ("bnsuite ab . . .", r"takes no \."),
        ("bnsuite bisect --good torch==2.11.0 -k x", "--bad is missing"),
        ("bnsuite accept --out DIR", "No such option '--out'"),
        ("bnsuite --threads", "requires an argument"),
        ("bnsuite --cases examples/no_such.py", "no examples/no_such.py"),
        ("docker run --rn bnsuite --device cpu", "docker run --rn"),
        ("docker run --rm bnsuite --devise cpu", "No such option '--devise'"),
        ('docker run --rm -v "$PWD/results:/results" bnsuite acept', "no verb acept"),
        ("make benhc", "no target benhc"),
        ("BNSUITE_OUT=x bnsuite --strickt || mail", "No such option '--strickt'"),
        ("bnsuite list --profile full > docs/nothing.md", "no docs/nothing.md"),
    ],
)
def test_a_wrong_command_is_found(text: str, message: str) -> None:
    """Each kind of mistake that a document may have is an error."""
    (found,) = commands("page.md", f"Try this:\n\n    {text}\n")
    with pytest.raises(WrongCommandError, match=message):
        check(found)


def test_commands_are_found_where_they_stand() -> None:
    """Blocks with and without a fence, continued lines, prompts and inline code are read; output is not."""
    found = [(one.line, " ".join(one.words), one.inline) for one in commands("page.md", PAGE)]
    assert found == [
        (1, "bnsuite list -k cnn", True),
        (1, "bnsuite accept", True),
        (3, "docker run --rm bnsuite --device cpu", False),
        (5, "make bench", False),
        (8, "bnsuite", False),
    ]
    for one in commands("page.md", PAGE):
        check(one)


def test_nothing_is_pending_that_is_there() -> None:
    """PENDING names verbs, options and files that do not exist yet, and no other."""
    for entry in PENDING:
        assert entry not in VERBS
        assert not (ROOT / entry).exists()
    for verb in VERBS:
        assert not set(pending_options(verb)) & options_of(verb)


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run in `results/latest` and a comparison in `results/ab`, where commands are started."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "results").mkdir()
    (tmp_path / "run").rename(tmp_path / "results" / "latest")
    (tmp_path / "ab").rename(tmp_path / "results" / "ab")
    monkeypatch.chdir(tmp_path)
    for name in ("BNSUITE_OUT", "BNSUITE_BASELINES", "BNSUITE_CASES"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def runnable() -> list[list[str]]:
    """Returns the arguments of each command that is run, each once."""
    found: dict[str, list[str]] = {}
    for command in COMMANDS:
        words = command.words[1:]
        if command.words[0] != "bnsuite" or any(PLACEHOLDER.fullmatch(word) for word in words[:1]):
            continue
        if _is_pending(words) or (command.inline and len(words) == 1):  # the verb is named, not the command
            continue
        helped = {"--help", "-h", "--version", "help"} & set(words)
        verb, _ = split_verb(words)
        if (helped and "VERB" not in words) or (verb in RUN and verb in VERBS and not set(NOT_RUN) & set(words)):
            found[shlex.join(words)] = words
    return [*found.values()]


def _is_pending(words: list[str]) -> bool:
    """Returns True for a command of a verb, or with an option, that is not there yet."""
    verb, rest = split_verb(words)
    return verb is not None and (verb in PENDING or bool(set(pending_options(verb)) & set(rest)))


def options_of(verb: str) -> set[str]:
    """Returns the options of a verb that is there."""
    found = VERB_GROUP.get_command(click.Context(VERB_GROUP), verb)
    assert found is not None
    return {name for param in found.params for name in (*param.opts, *param.secondary_opts)}


def _on_sample(words: list[str], folder: Path) -> list[str]:
    """Returns the words with folders of the sample in the place of those that a user names."""
    values = {"EXPR": "cnn", "DIR2": str(folder / "out"), "FILE": str(folder / "out.html")}
    verb, rest = split_verb(words)
    place = {"RUN": "results/latest", "DIR": "results/latest"}
    kept = [values.get(word, place.get(word, word)) for word in rest]
    kept = ["results/latest" if word.startswith(("results/", "nightly/", "runs/")) else word for word in kept]
    return [verb, *kept] if verb is not None else words


@pytest.mark.parametrize("words", runnable(), ids=shlex.join)
def test_a_command_that_takes_seconds_runs(words: list[str], sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints something, and its status is no error of usage."""
    status = main(_on_sample(words, sample))
    said = capsys.readouterr()
    verb, _ = split_verb(words)
    assert status != 2 or verb == "doctor", said.err
    assert "--debug shows where" not in said.err
    assert said.out or said.err


def test_pytest_suite_takes_its_options() -> None:
    """The commands of plain pytest-benchmark collect cases; their expressions are those of pytest."""
    found: dict[str, list[str]] = {}
    for command in COMMANDS:
        words = command.words
        if words[0] == "pytest" and len(words) > 2:
            if "-k" in words:
                place = words.index("-k")
                Expression.compile(words[place + 1])
                del words[place : place + 2]
            found[shlex.join(words)] = words
    most = [one for one in found.values() if not any(set(one) < set(other) for other in found.values())]
    assert most
    for words in most:
        collect = [sys.executable, "-m", *words, "--collect-only", "-q"]
        done = subprocess.run(collect, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    """Every path in inline code that begins with a folder of this repository is there."""
    for code in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")):
        for path in named_files(code):
            require_file(path)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_options_that_a_page_names_exist(page: Path) -> None:
    """Every option in inline code is that of a verb, of the whole command, of pytest or of Docker."""
    known = {name for verb in VERBS for name in (*options_of(verb), *pending_options(verb))} | set(DOCKER)
    known |= {"--help", "--version", "-k", "-h", "-q"}
    named = set(re.findall(r"`(--[a-z][a-z-]*|-[a-z])[ `=]", page.read_text(encoding="utf-8")))
    assert page.stem in PENDING or named <= known, named - known
