"""The command that measures a case again: a shell and the real parser take it as it is meant."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest

from bnsuite.cli.command import DEFAULT, VERB_GROUP
from bnsuite.record.package_index import PackageIndex
from bnsuite.report import repeat
from html_pages import COMPARISON, RUN

AWKWARD = RUN.options.model_copy(
    update={"threads": 2, "timeout_s": 12.5, "implementation": "my.pkg:Layer", "cases": ("/a dir/own's.py:CASES",)}
)


NAMES = ["op/a", "op/$HOME`id`", "op/quote'\"", "op/a;rm", "-x", "op/a&&b", "op/*?[a]", "op/#x", "op/!!"]


def parsed(command: str) -> tuple[str, dict[str, object]]:
    """The verb and the options of a command, as the real parser has them after a shell has split it."""
    program, *words = shlex.split(command)
    assert program == "bnsuite"
    verb, words = (words[0], words[1:]) if words[0] == "ab" else (DEFAULT, words)
    group = click.Context(VERB_GROUP)
    found = VERB_GROUP.get_command(group, verb)
    assert found is not None
    with found.make_context(verb, words, parent=group) as context:
        return verb, context.params


@pytest.mark.parametrize("name", NAMES)
def test_commands_are_parsed_as_they_are_meant(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a run as of a comparison, whatever letters an id or a path has."""
    monkeypatch.delenv("BNSUITE_BASELINES", raising=False)
    run = RUN.model_copy(update={"options": AWKWARD.model_copy(update={"cases": ()})})
    command = repeat.run_again(run, [name], "--confirm")
    assert command is not None
    verb, params = parsed(command)
    expected = {"select": name, "device": "cpu", "threads": 2, "timeout": 12.5, "impl": "my.pkg:Layer"}
    assert (verb, {key: params[key] for key in expected}) == ("run", expected)
    assert params["confirm"] == "baseline"
    times = COMPARISON.times.model_copy(update={"injected": {"slower": 0.2}, "a": "python:/a b/python"})
    command = repeat.compare_again(run, times, [name])
    assert command is not None
    verb, params = parsed(command)
    expected = {"select": name, "a": "python:/a b/python", "b": "docker:trainer:new", "seed": 7}
    assert (verb, {key: params[key] for key in expected}) == ("ab", expected)
    assert (params["injected"], params["impl_b"]) == ({"slower": 0.2}, "my.pkg:Layer")


def test_an_index_is_named_again() -> None:
    """With all that was recorded of it."""
    index = PackageIndex(url="https://example.org/simple", extra_urls=("https://example.net/b",), pre=True)
    run = RUN.model_copy(update={"options": RUN.options.model_copy(update={"index": index})})
    command = repeat.compare_again(run, COMPARISON.times, ["op/a"])
    assert command is not None
    params = parsed(command)[1]
    assert (params["index_url"], params["extra_index_url"], params["pre"]) == (index.url, index.extra_urls, True)


def test_ranks_that_shared_cores_share_them_again() -> None:
    """In a run; `ab` has no such option."""
    run = RUN.model_copy(update={"options": RUN.options.model_copy(update={"oversubscribe": True})})
    again, compared = repeat.run_again(run, ["op/a"]), repeat.compare_again(run, COMPARISON.times, ["op/a"])
    assert again is not None
    assert parsed(again)[1]["oversubscribe"] is True
    assert compared is not None
    assert parsed(compared)[0] == "ab"


def test_a_file_of_cases_is_named_again(tmp_path: Path) -> None:
    """With its quotes and blanks."""
    file = tmp_path / "own's cases.py"
    file.write_text("CASES = ()\n")
    options = AWKWARD.model_copy(update={"cases": (f"{file}:CASES",)})
    command = repeat.run_again(RUN.model_copy(update={"options": options}), ["op/a"])
    assert command is not None
    assert parsed(command)[1]["cases"] == (f"{file}:CASES",)


@pytest.mark.parametrize("name", ["op/(a)", "and", "op/a\n--device cuda", "not", ""])
def test_what_no_command_can_name_has_none(name: str) -> None:
    """An id with parentheses, a word of the language of -k, a line end."""
    assert repeat.run_again(RUN, [name]) is None


def test_no_command_takes_an_environment_for_an_option() -> None:
    """A name that begins with a hyphen, or that holds control characters."""
    for name in ("--inject", "a\x1b[31m", ""):
        times = COMPARISON.times.model_copy(update={"a": name})
        assert repeat.compare_again(RUN, times, ["op/a"]) is None
