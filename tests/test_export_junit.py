"""JUnit XML: read by junitparser, valid by the schemas, and with INCONCLUSIVE apart from failed and passed."""

from __future__ import annotations

import importlib.util
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped, TestCase
from xmlschema import XMLSchema

from bnsuite.judge.verdict import Verdict
from bnsuite.report.exports import junit
from bnsuite.report.judged import Report
from conftest import ROOT
from judged_reports import compared, empty, every_verdict, hostile, many

DIALECT = XMLSchema(ROOT / "tests" / "data" / "junit-dialect.xsd")
REPORTS = [every_verdict(), compared(), empty(), *hostile()]
NAMES = ["run", "comparison", "empty", "hostile run", "hostile comparison"]


def parsed(text: str) -> ET.Element:
    """The root of a file of ours."""
    return ET.fromstring(text.encode())  # noqa: S314  # a parser that takes less would prove less


def cases_of(report: Report, *, strict: bool = False) -> dict[str, TestCase]:
    """The tests by name, as junitparser reads them."""
    text = junit.render_strict(report) if strict else junit.render(report)
    return {case.name: case for suite in JUnitXml.fromstring(text.encode()) for case in suite}


@pytest.mark.parametrize("render", [junit.render, junit.render_strict])
@pytest.mark.parametrize("report", REPORTS, ids=NAMES)
def test_the_file_is_valid(report: Report, render: Callable[[Report], str]) -> None:
    """By the schema of the dialect: names are unique in a file, times are plain decimals."""
    DIALECT.validate(ET.ElementTree(parsed(render(report))))


def official(name: str) -> XMLSchema:
    """A schema of others: from the folder that BNSUITE_JUNIT_XSD names, or windyroad's from ReFrame's package."""
    folder = os.environ.get("BNSUITE_JUNIT_XSD")
    found = [Path(folder, name)] if folder else []
    reframe = importlib.util.find_spec("reframe")
    if name == "JUnit.xsd" and reframe is not None and reframe.origin is not None:
        found.append(Path(reframe.origin).parent / "schemas" / "junit.xsd")
    for path in found:
        if path.is_file():
            return XMLSchema(path)
    pytest.skip(f"{name} is not here; put it into a folder and name that in BNSUITE_JUNIT_XSD")


@pytest.mark.parametrize("report", REPORTS, ids=NAMES)
def test_jenkins_takes_the_file(report: Report) -> None:
    """By its own schema, as it is."""
    official("junit-10.xsd").validate(ET.ElementTree(parsed(junit.render(report))))


@pytest.mark.parametrize("report", REPORTS, ids=NAMES)
def test_windyroads_schema_takes_the_file(report: Report) -> None:
    """But for the output of a single test, which it does not know."""
    root = parsed(junit.render(report))
    for case in root.iter("testcase"):
        for output in case.findall("system-out"):
            case.remove(output)
    official("JUnit.xsd").validate(ET.ElementTree(root))


@pytest.mark.parametrize(
    ("verdict", "kind", "type_name"),
    [
        (Verdict.REGRESSED, Failure, "Regression"),
        (Verdict.FAILED, Error, "FAILED"),
        (Verdict.INVALID, Error, "INVALID"),
        (Verdict.MISSING, Error, "MISSING"),
        (Verdict.INCONCLUSIVE, Skipped, None),
        (Verdict.NO_BASELINE, Skipped, None),
        (Verdict.SKIPPED, Skipped, None),
    ],
)
def test_each_verdict_has_its_state(verdict: Verdict, kind: type, type_name: str | None) -> None:
    """Of the four that JUnit has; the message begins with the verdict, so that three kinds of skipped differ."""
    case = cases_of(every_verdict())[f"op/{verdict.value.lower()}"]
    (state,) = case.result
    assert type(state) is kind
    assert (state.type, state.message) == (type_name, f"{verdict.value}: a reason")
    assert f"-k op/{verdict.value.lower()}" in state.text


def test_what_is_well_passes() -> None:
    """IMPROVED too, with its reason in the output."""
    cases = cases_of(every_verdict())
    assert cases["op/pass"].is_passed
    assert cases["op/improved"].is_passed
    assert cases["op/improved"].system_out.splitlines()[0] == "IMPROVED: a reason"


def test_strict_makes_inconclusive_a_failure() -> None:
    """And nothing else."""
    usual, strict = cases_of(every_verdict()), cases_of(every_verdict(), strict=True)
    changed = [
        name for name, case in strict.items() if list(map(type, case.result)) != list(map(type, usual[name].result))
    ]
    assert sorted(changed) == ["op/inconclusive", "train/w/bn/x [convergence]"]
    (state,) = strict["op/inconclusive"].result
    assert (type(state), state.type) == (Failure, "INCONCLUSIVE")


def test_gates_are_suites_and_a_name_stands_once() -> None:
    """GitLab shows the class as the suite, and drops a second test of the same name."""
    xml = JUnitXml.fromstring(junit.render(every_verdict()).encode())
    assert [suite.name for suite in xml] == [
        f"bnsuite.{one}" for one in ("numerics", "timing", "memory", "convergence")
    ]
    classes = {case.name: case.classname for suite in xml for case in suite}
    assert len(classes) == sum(suite.tests for suite in xml) == 15
    assert classes["train/w/bn/x"] == "bnsuite.timing"
    assert classes["train/w/bn/x [memory]"] == "bnsuite.memory"


def test_the_time_is_that_of_measuring() -> None:
    """Never the metric: three launches of three rounds and two controls take longer than a step."""
    cases = cases_of(every_verdict())
    timings = every_verdict().run.cases[0].timings
    spent = sum(sum(one.samples_s) + sum(map(sum, one.controls_s.values())) for one in timings)
    assert cases["op/pass"].time == pytest.approx(spent, abs=1e-3)
    assert cases["train/w/bn/x [memory]"].time == 0
    assert cases_of(compared())["op/slow"].time == pytest.approx(10 * (1e-3 + 2e-3 + 2e-3 + 3e-3))


def test_numbers_stand_in_the_output() -> None:
    """For people, and in full for machines."""
    output = cases_of(every_verdict())["op/regressed"].system_out.splitlines()
    assert output[0] == "change: +25.0 % (0.25)"
    assert output[3] == "step: 1.10 ms (0.0011 s, 3 launches)"
    assert (
        cases_of(every_verdict())["train/w/bn/x [memory]"].system_out.splitlines()[-1]
        == "peak: 1.00 MiB (1048576 bytes)"
    )


def test_a_run_that_ended_early_is_an_error() -> None:
    """Though no test of its own failed."""
    (case,) = cases_of(empty()).values()
    assert (case.classname, type(case.result[0]), case.result[0].type) == ("bnsuite.run", Error, "NotMeasured")
    assert "interrupted" in case.result[0].message


def test_hostile_text_stays_text() -> None:
    """No element, no file that GitLab would link, no letter that XML has not."""
    for report in hostile():
        text = junit.render(report)
        assert "[[ATTACHMENT|" not in text
        assert {element.tag for element in parsed(text).iter()} == {
            *("testsuites", "testsuite", "properties", "property", "testcase"),
            *("failure", "error", "skipped", "system-out", "system-err"),
        }
        (state,) = next(case for name, case in cases_of(report).items() if "cmd|" in name).result
        assert "<script>alert(1)</script> ]]>" in state.message


def test_a_large_run_keeps_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst verdicts come in, the others are counted."""
    assert len(junit.render(many()).encode()) < 30_000_000
    monkeypatch.setattr(junit, "MOST_BYTES", 1_000_000)
    text = junit.render(many())
    assert 900_000 < len(text.encode()) < 1_010_000
    DIALECT.validate(ET.ElementTree(parsed(text)))
    cases = cases_of(many())
    assert {type(case.result[0]) for case in cases.values()} <= {Failure, Error}
    assert f"\n{5000 - len(cases):,} more tests" in text
