"""The HTML report in a real browser: it renders, sorts, filters, prints, and everybody can read it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import browser
from bnsuite.judge.verdict import Verdict
from bnsuite.record.key import machine_key
from bnsuite.record.reference import from_run
from bnsuite.report import html
from bnsuite.report.judged import Report, RunReport
from browser import Tab
from conftest import ROOT, make_run, result, timing
from html_pages import COMPARISON, FINDINGS, REPORT, RUN, found, judgement

#: axe-core's script: `npm install --prefix build/axe axe-core` puts it there.
AXE = Path(os.environ.get("BNSUITE_AXE") or ROOT / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js")

REPORTS: dict[str, Report] = {"run": REPORT, "comparison": COMPARISON}
BOTH = pytest.mark.parametrize("kind", list(REPORTS))
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of a run beside its reference, and one of a comparison."""
    folder = tmp_path_factory.mktemp("pages")
    beside = replace(REPORT, reference=from_run(RUN, "before", machine_key(RUN)))
    for kind, report in {**REPORTS, "run": beside}.items():
        (folder / f"{kind}.html").write_text(html.text(report), encoding="utf-8")
    return {kind: folder / f"{kind}.html" for kind in REPORTS}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    """One browser for all tests."""
    path = browser.program()
    if path is None:
        pytest.skip(f"none of {', '.join(browser.PROGRAMS)} is installed")
    with browser.started(path, tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture
def tab(running: browser.Browser) -> Tab:
    """An empty page of the size of a small screen."""
    tab = running.tab()
    tab.size(1280, 900)
    tab.media()
    return tab


def visible(tab: Tab) -> list[str]:
    """The ids of the rows that are shown, in their order."""
    ids: list[str] = tab.evaluate(
        "[...document.querySelectorAll('#table > tbody > tr')].filter(row => row.offsetParent !== null)"
        ".map(row => row.querySelector('summary').textContent)"
    )
    return ids


@BOTH
def test_a_page_opens_in_silence(kind: str, tab: Tab, pages: dict[str, Path]) -> None:
    """No error, no violation of its own policy, and no request but for the file."""
    tab.open(pages[kind])
    assert tab.evaluate("document.querySelector('h1').offsetHeight") > 0
    assert tab.evaluate("getComputedStyle(document.querySelector('.badge')).borderTopStyle") in {"solid", "dashed"}
    assert tab.evaluate("document.getElementById('tools').hidden") is False  # the script ran
    assert tab.complaints == []
    assert tab.requests == [pages[kind].as_uri()]


def test_the_policy_is_in_force(tab: Tab, pages: dict[str, Path]) -> None:
    """A script that something brings into the page does not run, and nothing can be fetched."""
    tab.open(pages["run"])
    tab.evaluate(
        "(() => { const evil = document.createElement('script'); evil.textContent = 'window.evil = 1';"
        "document.body.append(evil); })()"
    )
    assert tab.evaluate("window.evil === undefined")
    assert tab.evaluate("fetch('data:,x').then(() => false, () => true)")


def test_columns_sort(tab: Tab, pages: dict[str, Path]) -> None:
    """By the case, and by a number; a second press turns the order round; rows without a number stay last."""
    tab.open(pages["run"])
    press = "document.querySelectorAll('#table > thead button')[{}].click()"
    tab.evaluate(press.format(0))
    assert visible(tab) == sorted(visible(tab))
    tab.evaluate(press.format(0))
    assert visible(tab) == sorted(visible(tab), reverse=True)
    assert tab.evaluate("document.querySelector('#table th').getAttribute('aria-sort')") == "descending"
    tab.evaluate(press.format(3))
    assert visible(tab)[:2] == ["op/a", "train/w/bn/x"]
    tab.evaluate(press.format(3))
    assert visible(tab)[:2] == ["train/w/bn/x", "op/a"]
    assert tab.evaluate("document.querySelectorAll('#table th[aria-sort]').length") == 1


def test_rows_are_filtered(tab: Tab, pages: dict[str, Path]) -> None:
    """By a part of the id, by the verdict, and by both; how many there are is said."""
    tab.open(pages["run"])
    everything = visible(tab)

    def typed(text: str) -> None:
        tab.evaluate(
            f"(() => {{ const box = document.getElementById('filter'); box.value = {json.dumps(text)};"
            "box.dispatchEvent(new Event('input')); })()"
        )

    typed("OP/ a")
    assert visible(tab) == ["op/a"]
    assert tab.evaluate("document.getElementById('shown').textContent") == f"1 of {len(everything)} cases"
    typed("nothing like it")
    assert visible(tab) == []
    assert tab.evaluate("document.getElementById('none').hidden") is False
    typed("")
    tab.evaluate("document.querySelector('.toggle[data-verdict=MISSING]').click()")
    assert visible(tab) == ["op/gone"]
    tab.evaluate("document.querySelector('a.count[data-verdict=PASS]').click()")
    assert visible(tab) == ["numerics/strides/batch_norm2d"]


def test_a_link_opens_its_case(tab: Tab, pages: dict[str, Path]) -> None:
    """Also where a filter hides it."""
    tab.open(pages["run"])
    tab.evaluate("document.querySelector('.toggle[data-verdict=PASS]').click()")
    tab.evaluate("document.querySelector('.news a.id').click()")
    tab.evaluate("new Promise(done => setTimeout(done, 100))")
    assert tab.evaluate("document.querySelector('#table tr:target details').open")
    assert tab.evaluate("document.querySelector('#table tr:target').offsetParent !== null")


@SCHEMES
def test_the_scheme_of_the_system_is_followed(scheme: str, tab: Tab, pages: dict[str, Path]) -> None:
    """And the switch turns it round."""
    tab.media(scheme=scheme)
    tab.open(pages["run"])
    tab.evaluate("localStorage.clear()")
    tab.open(pages["run"])
    background = "getComputedStyle(document.documentElement).backgroundColor"
    light, dark = "rgb(255, 255, 255)", "rgb(18, 22, 28)"
    assert tab.evaluate(background) == (dark if scheme == "dark" else light)
    tab.evaluate("document.getElementById('theme').click()")
    assert tab.evaluate(background) == (light if scheme == "dark" else dark)
    tab.evaluate("localStorage.clear()")


@BOTH
@pytest.mark.parametrize("width", [360, 700, 800, 1024, 1280])
def test_no_width_scrolls_sideways(kind: str, width: int, tab: Tab, pages: dict[str, Path]) -> None:
    """From a phone to a desk, closed and with every case open."""
    tab.size(width, 740, mobile=width == 360)
    tab.open(pages[kind])
    wide = "document.documentElement.scrollWidth"
    assert tab.evaluate(wide) == width
    tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert tab.evaluate(wide) == width


@BOTH
def test_it_prints(kind: str, tab: Tab, pages: dict[str, Path]) -> None:
    """As a PDF, on white, without what only a screen can use."""
    tab.media("print", scheme="dark")
    tab.open(pages[kind])
    assert tab.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.evaluate("document.getElementById('tools').offsetParent === null")
    assert tab.pdf().startswith(b"%PDF")


@BOTH
def test_it_reads_without_a_script(kind: str, tab: Tab, pages: dict[str, Path]) -> None:
    """All rows are there, and what only a script makes work is not."""
    tab.do("Emulation.setScriptExecutionDisabled", value=True)
    tab.open(pages[kind])
    tree = tab.do("Accessibility.getFullAXTree")["nodes"]
    shown = {(one["role"]["value"], one["name"]["value"]) for one in tree if one.get("name") and one.get("role")}
    names = {name for _, name in shown}
    assert {one.case for one in FINDINGS if one.case in names} >= {"op/a", "train/w/bn/x"}
    assert not {role for role, _ in shown} & {"searchbox", "button"}


@BOTH
@SCHEMES
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing(kind: str, scheme: str, width: int, tab: Tab, pages: dict[str, Path]) -> None:
    """Contrast, names, roles, order of headings: all rules of axe-core, with every case open."""
    if not AXE.exists():
        pytest.skip(f"{AXE} is not there: npm install --prefix build/axe axe-core, or name it with BNSUITE_AXE")
    tab.size(width, 900)
    tab.media(scheme=scheme)
    tab.open(pages[kind])
    tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    tab.evaluate(f"(() => {{ {AXE.read_text(encoding='utf-8')} }})()")
    violations = tab.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map("
        "one => one.id + ': ' + one.nodes.slice(0, 3).map(node => node.html.slice(0, 200)).join(' | ')))"
    )
    assert violations == []


def test_five_thousand_rows_stay_usable(tab: Tab, tmp_path: Path) -> None:
    """They are sorted and filtered, and only what fits is shown."""
    run = make_run(*(result(f"op/{n:04}", timings=(timing(1e-3 * (5001 - n)),)) for n in range(5000)))
    findings = [found(one.id, "timing", Verdict.PASS) for one in run.cases]
    (tmp_path / "page.html").write_text(html.text(RunReport(run, judgement(*findings))), encoding="utf-8")
    tab.open(tmp_path / "page.html")
    tab.evaluate("document.querySelectorAll('#table > thead button')[3].click()")
    assert visible(tab)[0] == "op/4999"
    tab.evaluate(
        "(() => { const box = document.getElementById('filter'); box.value = '123';"
        "box.dispatchEvent(new Event('input')); })()"
    )
    assert len(visible(tab)) == sum("123" in one.id for one in run.cases)
