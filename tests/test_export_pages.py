"""The summary of a GitHub job and the comment on a pull request: for people, within their limits, and harmless."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt

from bnsuite.report.exports import comment, github_summary
from bnsuite.report.judged import Report
from judged_reports import compared, empty, every_verdict, hostile, many

if TYPE_CHECKING:
    from markdown_it.token import Token

PAGES = pytest.mark.parametrize("render", [github_summary.render, comment.render])
PARSER = MarkdownIt("commonmark").enable("table")
#: The HTML that a page has of its own.
OURS = {"<details>", "</details>", "<summary>", "</summary>", "<code>", "</code>"}


def tokens(page: str) -> list[Token]:
    """All tokens of a page, as a parser of GitHub's tables reads it."""
    return [one for block in PARSER.parse(page) for one in (block, *(block.children or ()))]


def rows(page: str) -> list[str]:
    """The rows of the table of what is not PASS."""
    table = page.partition("### Not PASS\n")[2].partition("\n<details>")[0]
    return [line for line in table.splitlines() if line.startswith("| ")][2:]


@PAGES
def test_a_page_begins_with_the_verdict(render: Callable[[Report], str]) -> None:
    """Then what was measured, and the counts by gate."""
    page = render(every_verdict())
    heading = next(line for line in page.splitlines() if line.startswith("## "))
    assert heading.startswith("## 🔴 bnsuite: REGRESSED: 2 REGRESSED, 1 FAILED, 1 MISSING, 1 INVALID, 2 INCONCLUSIVE")
    assert heading.endswith("(exit status 1)")
    assert "Judged by <code>baselines/</code>." in page
    assert "| timing | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 2 |" in page
    assert "| numerics | – | – | – | – | – | – | – | – | 3 |" in page


@PAGES
def test_what_is_not_pass_is_a_table_with_the_worst_first(render: Callable[[Report], str]) -> None:
    """With change and interval, reason and command; improvements are there too, and PASS is not."""
    found = [line.strip("| ").split(" | ") for line in rows(render(every_verdict()))]
    assert [row[0].split()[1] for row in found] == [
        *("REGRESSED", "REGRESSED", "FAILED", "MISSING", "INVALID", "INCONCLUSIVE", "INCONCLUSIVE"),
        *("NO_BASELINE", "SKIPPED", "IMPROVED"),
    ]
    assert [row[2:4] for row in found[:2]] == [
        ["<code>train/w/bn/x</code>", "memory +50.0 % (+49.0 % to +51.0 %)"],
        ["<code>op/regressed</code>", "+25.0 % (+24.0 % to +26.0 %)"],
    ]
    assert found[-1][3:5] == ["-20.0 % (-21.0 % to -19.0 %)", "a reason"]
    assert found[1][5] == "<code>bnsuite --device cpu --timeout 60 -k op/regressed</code>"
    assert "--profile full --timeout 60 -k train/w/bn/x" in found[5][5]


@PAGES
def test_a_comparison_says_what_differs(render: Callable[[Report], str]) -> None:
    """Both environments by name, and the command that compares them again in the same order."""
    page = render(compared())
    assert "A, trusted: <code>torch==2.14.1</code> · B, judged: <code>docker:trainer:new</code>" in page
    assert "**What differs:**\n\n- torch 2.14.1 → 2.15.0\n" in page
    assert "<code>bnsuite ab torch==2.14.1 docker:trainer:new --device cpu --seed 7 -k op/slow</code>" in page


def test_another_layer_differs() -> None:
    """Two sides in one environment differ in what stands in for torch's batch norm."""
    report = compared()
    options = report.b.options.model_copy(update={"implementation": "mine.py:Layer"})
    page = comment.render(replace(report, b=report.a.model_copy(update={"options": options})))
    assert "**What differs:**\n\n- batch norm torch's own → mine.py:Layer\n" in page


@PAGES
def test_folded_lists_end_a_page(render: Callable[[Report], str]) -> None:
    """One of families, one of timed cases, each closed again; the time of what is INVALID is not shown."""
    page = render(every_verdict())
    assert re.findall("<summary>(.*)</summary>", page) == ["All 15 findings by family", "9 timed cases"]
    assert page.count("<details>") == page.count("</details>") == 2
    assert "| numerics/strides | numerics | 3 PASS | – |" in page
    assert "| <code>op/pass</code> | 1.10 ms | 1.00 MiB | +0.1 % (-0.9 % to +1.1 %) | 🟢 PASS |" in page
    assert "| <code>op/invalid</code> | – | 1.00 MiB | – | 🟠 INVALID |" in page


def test_a_comment_can_be_found_again() -> None:
    """By a first line that is not shown."""
    assert comment.render(every_verdict()).startswith("<!-- bnsuite: run -->\n## ")
    assert comment.render(compared()).startswith("<!-- bnsuite: comparison -->\n## ")


@PAGES
def test_a_run_of_nothing_is_a_page(render: Callable[[Report], str]) -> None:
    """With the reason, and without tables."""
    page = render(empty())
    assert "not measured as asked (interrupted): nothing measured" in page
    assert "|" not in page


@pytest.mark.parametrize(("render", "most"), [(github_summary.render, 900 << 10), (comment.render, 60_000)])
def test_a_large_run_keeps_the_limit(render: Callable[[Report], str], most: int) -> None:
    """In bytes and letters; the worst come first, the rest is counted, and what was opened is closed."""
    page = render(many())
    assert 0.75 * most < len(page) <= len(page.encode()) <= most
    shown = rows(page)
    assert all("🔴 REGRESSED" in row for row in shown[:50])
    left = re.search(r"\*\*([\d,]+) more findings\*\* are not shown", page)
    assert left is not None
    news = sum(one.verdict.value != "PASS" for one in many().judgement.findings)
    assert int(left[1].replace(",", "")) == news - len(shown)
    assert page.count("<details>") == page.count("</details>")
    assert "All 5,000 findings by family" in page


@pytest.mark.parametrize("most", [0, 100, 1000, 5000, 20_000])
def test_any_limit_is_kept(most: int) -> None:
    """However little room is left, also by hostile text."""
    for report in (many(100), *hostile()):
        page = github_summary.render_within(report, most)
        assert len(page.encode()) <= most
        assert page.count("<details>") == page.count("</details>")


@PAGES
@pytest.mark.parametrize("report", hostile(), ids=["run", "comparison"])
def test_hostile_text_stays_text(report: Report, render: Callable[[Report], str]) -> None:
    """No markup, no link, no further cell; and nobody is mentioned, no issue is referred to."""
    page = render(report)
    found = tokens(page.partition("\n")[2] if page.startswith("<!--") else page)
    html = [one.content for one in found if one.type in {"html_block", "html_inline"}]
    assert {tag for content in html for tag in re.findall("<[^>]*>", content)} <= OURS
    assert not [one for one in found if one.type in {"link_open", "image", "code_inline"}]
    assert len([one for one in found if one.type == "strong_open"]) <= page.count("**What differs:**")
    tables = [block.splitlines() for block in re.findall(r"(?:^\| .*\n)+", page, re.MULTILINE)]
    assert len(tables) == 4
    assert all(len({len(re.findall(r"(?<!\\)\|", row)) for row in table}) == 1 for table in tables)
    outside_code = re.sub("<code>.*?</code>", "", page)
    assert "$" not in page
    assert not re.search(r"@\w|#\d|GH-\d|://|www\.", unescape(outside_code))
    assert all(line.isprintable() for line in page.split("\n"))


def test_alike_findings_without_a_number_are_one_row() -> None:
    """As on a new machine, where dozens of cases have no baseline for the same reason."""
    report = every_verdict()
    new = [
        one.model_copy(update={"case": f"op/new-{n}"})
        for n in range(20)
        for one in report.judgement.findings
        if one.verdict.value == "NO_BASELINE"
    ]
    judgement = report.judgement.model_copy(update={"findings": tuple(new)})
    (row,) = rows(comment.render(type(report)(report.run, judgement)))
    assert "20 cases, the first <code>op/new-0</code>" in row
