"""The HTML report: one page per run or comparison, complete, harmless, small, and with commands that work."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from bnsuite.judge import comparison
from bnsuite.judge.interleaved import MARGIN
from bnsuite.judge.reason import ReasonCode, reason
from bnsuite.judge.reason import text as because
from bnsuite.judge.sensitivity import by_case
from bnsuite.judge.verdict import ExitStatus, Finding, Verdict
from bnsuite.record import pictures
from bnsuite.record.folder import REPORT_HTML
from bnsuite.record.interleaved import PairedCase
from bnsuite.record.key import machine_key
from bnsuite.record.pins import Pin
from bnsuite.record.reference import from_run
from bnsuite.record.schema import Observation
from bnsuite.report import html, units, writers
from bnsuite.report.html.sentence import sentence
from bnsuite.report.judged import ComparisonReport, Report, RunReport
from bnsuite.report.section import Section, SectionTable
from conftest import curve, make_run, result, timing, watched
from html_pages import CHECK, COMPARISON, REPORT, RUN, SEEN, Page, compared, found, judgement, launch
from test_text import HOSTILE, hostile_run

BOTH = pytest.mark.parametrize("report", [REPORT, COMPARISON], ids=["run", "comparison"])


@BOTH
def test_a_page_is_well_formed(report: Report) -> None:
    """Every element is closed, ids are unique, links lead to places in the page, headings are in order."""
    page = Page(html.text(report))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for attributes in page.all("a"):
        target = attributes["href"] or ""
        assert target.startswith("data:application/json") or target.removeprefix("#") in ids
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all("scope" in attributes for attributes in page.all("th"))


@BOTH
def test_a_page_can_reach_no_network(report: Report) -> None:
    """The policy forbids it, and nothing in the page names another place."""
    text = html.text(report)
    page = Page(text)
    policy = next(one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    assert not re.search(r"""(?:src|href|url\()\s*=?\s*["']?(?:https?:)?//""", text)
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert not [1 for _, attributes in page.elements if "style" in attributes]


def test_the_first_screen_has_the_verdict_and_what_is_not_pass() -> None:
    """The sentence, the counts, and each finding with its number, interval, reason and command, worst first."""
    page = Page(html.text(REPORT))
    assert page.text_of("h1") == ["This environment got worse in 1 case (timing): op/a."]
    assert "REGRESSED: 1 REGRESSED, 1 MISSING, 1 INCONCLUSIVE, 2 PASS in 3 cases" in page.text
    shown = page.text.partition("What is not PASS")[2].partition("All cases")[0]
    places = [shown.index(word) for word in ("REGRESSED", "MISSING", "INCONCLUSIVE")]
    assert places == sorted(places)
    assert "+25.0 % (+20.0 % to +30.0 %) · slower by 25 %" in " ".join(shown.split())
    assert "bnsuite --device cpu --timeout 60 -k op/a" in shown
    assert "bnsuite --device cpu --profile full --timeout 60 -k train/w/bn/x" in shown
    assert " PASS " not in shown


def test_equal_reasons_are_one_item() -> None:
    """Twenty cases without a baseline are one thing to read, with all of their ids."""
    run = make_run(*(result(f"op/n{n}", timings=(timing(1e-3),)) for n in range(20)))
    findings = [found(one.id, "timing", Verdict.NO_BASELINE, "no baseline for this machine") for one in run.cases]
    page = Page(html.text(RunReport(run, judgement(*findings))))
    news = page.text.partition("What is not PASS")[2].partition("All cases")[0]
    assert news.count("no baseline for this machine") == 1
    assert all(f"op/n{n}" in news for n in range(20))


@pytest.mark.parametrize(
    ("verdicts", "status", "said"),
    [
        ({"timing": Verdict.PASS}, ExitStatus.FINE, "Nothing wrong."),
        ({"timing": Verdict.NO_BASELINE, "memory": Verdict.PASS}, ExitStatus.FINE, "Nothing wrong in memory; timing"),
        ({"timing": Verdict.SKIPPED}, ExitStatus.FINE, "Nothing was compared."),
        ({"timing": Verdict.IMPROVED}, ExitStatus.FINE, "Nothing wrong. 1 case improved."),
        ({"timing": Verdict.FAILED}, ExitStatus.NOT_MEASURED, "Not measured as asked: 1 case failed."),
        ({"memory": Verdict.REGRESSED, "timing": Verdict.FAILED}, ExitStatus.REGRESSED, "This environment got worse"),
        ({}, ExitStatus.UNUSABLE, "The results are not usable."),
    ],
)
def test_the_verdict_is_a_sentence(verdicts: dict[str, Verdict], status: ExitStatus, said: str) -> None:
    """It says what the exit status says, and never that something undecided is right."""
    findings = [found("op/a", gate, verdict) for gate, verdict in verdicts.items()]
    assert sentence(RunReport(RUN, judgement(*findings, status=status))).startswith(said)


def test_what_differs_is_named_first() -> None:
    """Both values of each recorded fact, torch before the rest; what is the same is folded away."""
    page = Page(html.text(COMPARISON))
    shown = page.text.partition("What differs")[2].partition("The same in both")[0]
    facts = "docker:trainer:old docker:trainer:new torch 2.13.0 2.14.1 CUDA 12.8 13.0"
    assert facts in " ".join(shown.split())
    assert "Python" not in shown
    assert "Python 3.12.1 3.12.1" in " ".join(page.text.split())


def test_a_run_is_shown_beside_its_reference() -> None:
    """Accepted times, memory, observations and curves, and what its record tells of the environment."""
    before = make_run(
        result("op/a", timings=(timing(0.5e-3),) * 3),
        result("train/w/bn/x", timings=(timing(4e-2),), curves=(curve(0), curve(1, final=0.05))),
        result(CHECK, observations=(SEEN[1].model_copy(update={"value": 7.5}),)),
    )
    older = before.environment.model_copy(update={"packages": {"torch": "2.12.0"}})
    reference = from_run(before.model_copy(update={"environment": older}), "before", machine_key(RUN))
    pin = Pin(case="numerics/*", what="y", device="any", torch="", value=50.0, reason="known since long ago")
    page = Page(html.text(replace(REPORT, reference=replace(reference, pins=(pin,)))))
    plain = " ".join(page.text.split())
    assert "torch 2.12.0 2.14.1" in plain
    assert f"baseline {units.seconds(0.5e-3)} ± 2.5 %" not in plain  # medians of launches, not samples
    assert "medians of 3 launches in 1 run, torch 2.12.0" in plain
    assert "seed 0: 0.1 (baseline 0.1, identical)" in plain
    assert "seed 1: 0.1 (baseline 0.05)" in plain
    assert "dx 15 ≤ 30 7.5" in plain
    assert "y 40 ≤ 30 – pinned: known since long ago" in plain


def test_launches_have_their_samples_and_their_state() -> None:
    """One strip per launch; a disturbed one says so; on a GPU clocks, power and what held the clocks stand beside."""
    launches = (timing(1e-3, gpu=watched()), timing(1e-3, gpu=watched(0, ("hw_slowdown",))))
    run = make_run(result("op/a", timings=launches))
    page = Page(html.text(RunReport(run, judgement(found("op/a", "timing", Verdict.PASS)))))
    assert sum(one.get("class") == "strip" for one in page.all("svg")) == 2
    plain = " ".join(page.text.split())
    assert "1700 to 1980 MHz 50 °C 300 W 20 J nothing" in plain
    assert "hw_slowdown the GPU was throttled (hw_slowdown)" in plain
    assert "something else had the core" in Page(html.text(REPORT)).text


def test_the_forest_has_the_zone_and_the_smallest_change() -> None:
    """One row per timed case: B against A with its interval, and what the comparison could have found."""
    page = Page(html.text(COMPARISON))
    plain = " ".join(page.text.split())
    rects = [one for one in page.all("rect") if one.get("class") == "zone"]
    assert len(rects) == 2 * 2  # two cases: a row of the forest each, and the launches of each
    assert f"less than {100 * MARGIN:g} % slower" in plain
    smallest = by_case(COMPARISON.b, COMPARISON.times)
    assert smallest.keys() == {"op/a", "train/w/bn/x"}
    for change in smallest.values():
        assert f"6 + 6 {units.change(change)}" in plain or f"6 {units.change(change)}" in plain
    assert page.text_of("h1") == ["B is worse than A in 1 case (timing): op/a."]
    assert "launches from +0.0 % to" in " ".join(one.get("aria-label") or "" for one in page.all("svg"))


def test_a_comparison_without_times_has_no_forest() -> None:
    """Nor does it fail."""
    assert "#forest" not in html.text(compared(RUN, RUN, {}))


@BOTH
def test_every_case_has_a_row_with_its_command(report: Report) -> None:
    """Each row says its verdict in a word, and its command measures this case."""
    page = Page(html.text(report))
    rows = [one for one in page.all("tr") if "data-v" in one]
    verdicts = {one.case: one.verdict for one in report.judgement.findings}
    assert len(rows) == len({one.id for one in RUN.cases} | verdicts.keys())
    commands = {text for text in page.text_of("code") if text.startswith("bnsuite ")}
    for case in verdicts:
        assert any(case in command for command in commands), case


@pytest.mark.parametrize("of", ["run", "comparison"])
def test_text_of_others_is_text(of: str) -> None:
    """Ids, reasons, names, versions, observations and pins are shown as they are, and never as markup or script."""
    evil = "<script>alert(1)</script><svg/onload=alert(2)>'\"&{{7*7}}"
    name = "numerics/<script>alert(1)</script>"
    seen = (Observation(what=evil, value=evil, expected=evil),)
    bad = result(name, observations=seen)
    bad = bad.model_copy(
        update={"case": bad.case.model_copy(update={"rule": evil, "threads": (evil,), "labels": {evil: evil}})}
    )
    extra = hostile_run()
    run = extra.model_copy(update={"cases": (*extra.cases, bad)})
    why = reason(
        ReasonCode.DEVIATIONS,
        deviations=[{"what": evil, "value": evil, "expected": evil}],
        more=0,
        rule=evil,
        threads=[evil],
    )
    findings = (
        Finding(case=name, gate="numerics", verdict=Verdict.REGRESSED, reason=why),
        Finding(
            case="op/<script>",
            gate="timing",
            verdict=Verdict.FAILED,
            reason=because(HOSTILE),
            change=0.1,
            evidence={"metric": HOSTILE},
        ),
        found('"><img src=x onerror=alert(3)>', HOSTILE, Verdict.MISSING, evil),
    )
    verdicts = judgement(*findings, reference=HOSTILE)
    report: Report = RunReport(
        run, verdicts, (Section(evil, (SectionTable(evil, evil, (evil,), ("left",), ((evil,),)),), evil),)
    )
    if of == "comparison":
        times = COMPARISON.times.model_copy(
            update={"a": HOSTILE, "b": evil, "injected": {evil: 1.0}, "variables": {"a": {evil: evil}, "b": {}}}
        )
        report = ComparisonReport(RUN, run, times, verdicts)
    text = html.text(report)
    page = Page(text)
    assert len(page.all("script")) == 1
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert len(page.all("style")) == 1
    assert not page.all("img")
    assert evil in page.text
    assert "49" not in page.text.partition("alert(2)")[2][:40]  # no template either
    assert all(letter.isprintable() or letter == "\n" for letter in text)


def test_many_cases_fit_into_a_page() -> None:
    """Five thousand cases with their launches, and as many checks with all they saw, stay below six million bytes."""
    seen = tuple(Observation(what=f"dy=contiguous/{n}", value=float(n), limit=30.0) for n in range(20))
    timed = [result(f"op/batch_norm2d/fwd+bwd/f32/nchw/{n}x64", timings=(timing(1e-3),) * 3) for n in range(2000)]
    checked = [result(f"numerics/strides/batch_norm2d/{n}", observations=seen) for n in range(3000)]
    run = make_run(*timed, *checked)
    findings = [found(one.id, gate, Verdict.PASS) for one in run.cases for gate in one.outcomes]
    text = html.text(RunReport(run, judgement(*findings)))
    assert text.count("<tr id=") == 5000
    assert len(text.encode()) <= 6_000_000


@pytest.mark.slow
def test_a_full_run_fits_into_a_page(tmp_path: Path) -> None:
    """As many checks, layers and trainings as the full profile has, with the articles' pictures."""
    seen = tuple(Observation(what=f"std=0.3/running_mean {n}", value=float(n), limit=30.0) for n in range(20))
    many = timing(1e-3).model_copy(update={"samples_s": tuple(1e-3 * (1 + n * n % 97 / 500) for n in range(100))})
    curves = tuple(curve(seed, epochs=30, final=0.01) for seed in range(10))
    run = make_run(
        *(result(f"numerics/reference/batch_norm2d/n={n}/train/channels-last", observations=seen) for n in range(2200)),
        *(result(f"op/batch_norm2d/fwd+bwd/f32/nchw/{n}x64x56x56", timings=(many,) * 10) for n in range(250)),
        *(result(f"train/synthetic-mlp/bn/lr={n}", timings=(many,) * 10, curves=curves) for n in range(130)),
    )
    findings = [found(one.id, gate, Verdict.PASS) for one in run.cases for gate in one.outcomes]
    report = RunReport(run, judgement(*findings), reference=from_run(run, "before", machine_key(run)))
    (tmp_path / "figures").mkdir()
    for n in range(12):
        (tmp_path / "figures" / f"{n}.png").write_bytes(bytes(80_000))
    drawn = pictures.load(tmp_path)
    assert all(one.content is not None for one in drawn)
    assert len(html.text(replace(report, pictures=drawn)).encode()) <= 6_000_000


def test_a_full_comparison_fits_into_a_page() -> None:
    """As many cases as the full profile times, each with all launches that it may take."""
    names = [f"op/batch_norm2d/fwd+bwd/f32/nchw/{n}x64x56x56" for n in range(240)]
    run = make_run(*(result(name, timings=(timing(1e-3),) * 12) for name in names))
    varied = tuple(launch(n % 5 / 1000, blocks=60, confirms=n > 17) for n in range(36))
    times = COMPARISON.times.model_copy(
        update={"cases": tuple(PairedCase(id=name, launches=varied) for name in names), "most_launches": 18}
    )
    findings = comparison.judge(run, run, times, ())
    text = html.text(ComparisonReport(run, run, times, judgement(*findings)))
    assert len(text.encode()) <= 1_500_000


def test_a_half_written_run_has_a_page() -> None:
    """Cases that nothing judged have their row as well."""
    run = make_run(result("op/a", timings=(timing(1e-3),)), result("op/b"), finished=False)
    page = Page(html.text(RunReport(run, judgement(status=ExitStatus.NOT_MEASURED))))
    assert page.text_of("h1") == ["Not measured as asked: it ended early (interrupted)."]
    assert Counter(one["data-v"] for one in page.all("tr") if "data-v" in one) == {"not judged": 2}


def test_pictures_are_part_of_the_page(tmp_path: Path) -> None:
    """Those that were drawn, as far as they fit; their names are alternatives in words."""
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "loss-cnn-data-digits.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "figures" / "large.png").write_bytes(bytes(2000))
    (tmp_path / "figures" / "notes.txt").write_text("no picture")
    drawn = pictures.load(tmp_path, most=1000)
    page = Page(html.text(replace(REPORT, pictures=drawn)))
    (image,) = page.all("img")
    assert (image["alt"], (image["src"] or "").partition(",")[0]) == (
        *("loss cnn data digits", "data:image/svg+xml;base64"),
    )
    assert "large.png is too large for this page" in page.text


def test_the_page_is_written_beside_every_run_and_comparison(tmp_path: Path) -> None:
    """And stands in the list that a new run in the folder is cleaned by."""
    assert REPORT_HTML in writers.OUTPUTS
    for report in (REPORT, COMPARISON):
        assert writers.write(report, tmp_path) == []
        assert Page((tmp_path / REPORT_HTML).read_text()).text_of("h1") == [sentence(report)]
