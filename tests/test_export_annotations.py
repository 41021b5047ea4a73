"""Annotations of a GitHub workflow, read as the runner reads its commands."""

from __future__ import annotations

import re

import pytest

from bnsuite.report.exports import github_annotations
from bnsuite.report.judged import Report
from judged_reports import compared, empty, every_verdict, hostile, many

#: As actions/runner parses a line: leading space is dropped, properties end at the second "::".
COMMAND = re.compile(r"\s*::(?P<name>[a-z-]+)(?: (?P<properties>.*?))?::(?P<data>.*)", re.DOTALL)
UNESCAPED = (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%"))


def commands(report: Report) -> list[tuple[str, str, str]]:
    """Level, title and message of each command; every line is one."""
    found = []
    for line in github_annotations.render(report).splitlines():
        match = COMMAND.fullmatch(line)
        assert match is not None, line
        properties = dict(one.split("=", 1) for one in (match["properties"] or "").split(","))
        assert set(properties) == {"title"}
        found.append((match["name"], plain(properties["title"]), plain(match["data"])))
    return found


def plain(text: str) -> str:
    """The text behind a command's escapes."""
    for escaped, letter in UNESCAPED:
        text = text.replace(escaped, letter)
    return text


def test_verdicts_have_their_level() -> None:
    """What is wrong or was not measured is an error, what is undecided a warning, what is better a notice."""
    levels = {title.split(",")[0]: level for level, title, _ in commands(every_verdict())}
    assert levels == {
        **dict.fromkeys(["REGRESSED memory", "REGRESSED timing", "FAILED timing", "MISSING timing"], "error"),
        "INVALID timing": "error",
        **dict.fromkeys(["INCONCLUSIVE timing", "INCONCLUSIVE convergence"], "warning"),
        **dict.fromkeys(["IMPROVED timing", "bnsuite"], "notice"),
    }


def test_an_annotation_says_what_and_why_and_how_to_see_it_again() -> None:
    """Title, reason, command."""
    assert commands(compared())[0] == (
        "error",
        "REGRESSED timing, op/slow",
        "a reason\nbnsuite ab torch==2.14.1 docker:trainer:new --device cpu --seed 7 -k op/slow",
    )


def test_the_last_one_is_the_verdict() -> None:
    """Also of a run that measured nothing."""
    assert commands(empty()) == [
        ("notice", "bnsuite", "not measured as asked (interrupted): nothing measured in 0 cases, 42 s (exit status 3)")
    ]


def test_no_level_has_more_than_ten() -> None:
    """The nine worst, and how many more there are."""
    found = commands(many())
    by_level = {level: [one for one in found if one[0] == level] for level in ("error", "warning", "notice")}
    assert {level: len(some) for level, some in by_level.items()} == {"error": 10, "warning": 10, "notice": 10}
    assert all(title.startswith("REGRESSED") for _, title, _ in by_level["error"][:9])
    assert by_level["error"][9][1] == "2,215 more"  # of 5,000, 4 of 9 verdicts are errors
    assert by_level["warning"][9][1] == "547 more"


def test_alike_findings_are_one() -> None:
    """Twenty cases of one reason leave room for others."""
    report = every_verdict()
    first = report.judgement.findings[0]
    findings = tuple(first.model_copy(update={"case": f"op/{n}"}) for n in range(20))
    (error, _) = commands(type(report)(report.run, report.judgement.model_copy(update={"findings": findings})))
    assert error[1] == "REGRESSED timing, 20 cases"
    assert error[2].splitlines()[1] == "op/0, op/1, op/10 and 17 more"


@pytest.mark.parametrize("report", hostile(), ids=["run", "comparison"])
def test_hostile_text_makes_no_command(report: Report) -> None:
    """Neither a line nor a property of its own; `%0A` in a text stays three letters."""
    found = commands(report)
    assert [level for level, _, _ in found] == ["error", "error", "warning", "notice"]
    assert "a::b" in found[1][2].splitlines()[0]
    assert "%250A::set-output" in github_annotations.render(report)
