"""Text from measured processes: it never makes a line of its own, moves a terminal, or becomes markup."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from bnsuite.judge.reason import text as because
from bnsuite.judge.verdict import ExitStatus, Finding, Judgement, Verdict
from bnsuite.launch.progress import Progress
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.schema import Run
from bnsuite.report import markdown as report_file
from bnsuite.report import progress, table, terminal
from bnsuite.report.detail import Detail
from bnsuite.report.judged import ComparisonReport, RunReport
from bnsuite.report.screen import Screen
from bnsuite.report.text import (
    clipped,
    code,
    github,
    github_code,
    label,
    listed,
    markdown,
    one_line,
    spreadsheet,
    workflow_data,
    workflow_property,
    xml,
)
from conftest import make_run, result, timing

ESCAPES = "\x1b]0;pwned\x07\x1b[31mred <b>html</b>"
MARKUP = "**bold** <script>alert(1)</script> [link](http://x) `code` | cell _em_ \u202e\r\nnewline"
LAST_LINE = "\nnothing wrong: 100 PASS (exit status 0)"
HOSTILE = f"{ESCAPES} {MARKUP}{LAST_LINE}"


def test_one_line_is_printable() -> None:
    """Escape codes, bells, bidi marks and every kind of line end are gone."""
    line = one_line(HOSTILE + "\u2028\x85\x0b\x00")
    assert line.isprintable()
    assert one_line("a \t b\nc") == "a b c"


def test_markdown_shows_what_was_said() -> None:
    """HTML is escaped, and so are signs that Markdown acts on; an id stays readable."""
    assert markdown("<b>&") == "&lt;b&gt;&amp;"
    assert markdown("**x** [y](z) `c` a|b ~~d~~") == r"\*\*x\*\* \[y\](z) \`c\` a\|b \~\~d\~\~"
    assert markdown("_em_ op/batch_norm1d/fwd-train") == r"\_em\_ op/batch_norm1d/fwd-train"


def test_github_links_nothing() -> None:
    """A space without width undoes mentions, references, addresses and formulas; in code they are none."""
    assert github("@me #12 GH-3 http://x www.x $y$ a@b #x").replace("&#8203;", "|") == (
        "@|me #|12 GH|-3 http:|//x www|.x &#36;y&#36; a@|b #x"
    )
    assert github_code("a --b 'c*d' http://x") == r"<code>a --b 'c\*d' http&#58;//x</code>"


def test_a_workflow_command_ends_at_its_line_alone() -> None:
    """Its properties also end at colons and commas."""
    assert workflow_data("100 %\r\n::x,") == "100 %25%0D%0A::x,"
    assert workflow_property("a::b,c%\n") == "a%3A%3Ab%2Cc%25%0A"


def test_a_label_is_one_string() -> None:
    assert label('a"b\\c\nd') == r'"a\"b\\c d"'


def test_xml_has_no_letters_that_it_can_not_hold() -> None:
    assert xml("a\x00\x0b\ud800\ufffe\U0001f600\tb\n") == "a\U0001f600\tb\n"


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@sum(A1)", "＝1"])
def test_a_spreadsheet_gets_no_formula(cell: str) -> None:
    """Also one that begins with space, which is dropped."""
    assert spreadsheet(cell) == f"'{cell}"
    assert spreadsheet(f" \t{cell}") == f"'{cell}"
    assert spreadsheet(f"a{cell}") == f"a{cell}"


def test_code_ends_where_it_should() -> None:
    """Its fence is longer than any run of backticks in it."""
    assert code("a -k 'b*c'") == "`a -k 'b*c'`"
    assert code("a `b`") == "`` a `b` ``"


def test_what_is_long_says_how_long() -> None:
    assert clipped("x" * 130) == f"{'x' * 120}… (10 more letters)"
    assert listed([str(n) for n in range(20)], 3) == "0, 1, 2 and 17 more"
    assert listed(["a"], more=2) == "a and 2 more"
    long = "x" * 100_000
    lost = Finding(case=long, gate="timing", verdict=Verdict.MISSING, reason=because(long))
    assert max(map(len, table.markdown(make_run(), [lost]).splitlines())) < 2000


def test_a_progress_line_is_printable() -> None:
    """Also where it has the name of an environment."""
    stream = io.StringIO()
    progress.Lines(stream)(Progress(f"checking {HOSTILE}", "x", 1, 2))
    assert stream.getvalue().rstrip("\n").isprintable()


def hostile_run() -> Run:
    """A run all of whose texts are hostile."""
    run = make_run(result("op/<script>", timings=(timing(1e-3),)))
    environment = run.environment.model_copy(
        update={"cpu": HOSTILE, "python": HOSTILE, "packages": {"torch": HOSTILE, HOSTILE: HOSTILE}}
    )
    options = run.options.model_copy(update={"implementation": HOSTILE})
    return run.model_copy(
        update={"environment": environment, "options": options, "finished": False, "ended_by": HOSTILE}
    )


FINDINGS = [
    Finding(case="op/<script>", gate="timing", verdict=verdict, reason=because(HOSTILE), evidence={"metric": HOSTILE})
    for verdict in (Verdict.FAILED, Verdict.SKIPPED)
]


def judgement(reference: str = HOSTILE) -> Judgement:
    return Judgement(
        schema=Judgement.SCHEMA, reference=reference, status=ExitStatus.NOT_MEASURED, findings=tuple(FINDINGS)
    )


def of_run() -> RunReport:
    return RunReport(hostile_run(), judgement(), folder=Path(HOSTILE))


def of_comparison() -> ComparisonReport:
    times = InterleavedTimes(
        schema=2, a=HOSTILE, b=HOSTILE, seed=0, most_launches=18, budget_s=None, variables={}, cases=()
    )
    return ComparisonReport(make_run(), hostile_run(), times, judgement(), Path(HOSTILE))


@pytest.mark.parametrize("report", [of_run(), of_comparison()])
@pytest.mark.parametrize("detail", list(Detail))
def test_a_terminal_gets_lines_of_ours_alone(report: RunReport | ComparisonReport, detail: Detail) -> None:
    """No escape code, and no line that a measured process made up."""
    shown = terminal.render(report, Screen(), detail)
    assert all(line.isprintable() for line in shown.split("\n"))
    assert not any(line.startswith("nothing wrong") for line in shown.split("\n"))
    assert shown.splitlines()[-1].startswith("not measured as asked (")


@pytest.mark.parametrize("report", [of_run(), of_comparison()])
def test_a_report_has_no_markup_of_others(report: RunReport | ComparisonReport) -> None:
    """Neither HTML nor emphasis, links, code or further cells of a table; within code nothing is markup."""
    written = re.sub(r"(`+) ?[^`].*?\1(?!`)", "", report_file.render(report))
    assert all(line.isprintable() for line in written.split("\n"))
    assert not any(line.startswith("nothing wrong") for line in written.split("\n"))
    for sign in ("<b>", "<script>", "**bold**", "[link]", " `code`", " | cell", " _em_"):
        assert sign not in written, sign
