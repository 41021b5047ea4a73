"""Reasons in words: every code has its sentence, and no data of any file breaks one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bnsuite.judge.reason import Reason, ReasonCode, reason, text
from bnsuite.judge.verdict import ExitStatus, Finding, Judgement, Verdict
from bnsuite.record import store
from bnsuite.report import findings_json, table
from bnsuite.report.reasons import sentence, words
from bnsuite.report.screen import Screen
from bnsuite.report.text import MAX_REASON
from conftest import make_run, result


@pytest.mark.parametrize("code", list(ReasonCode))
def test_every_code_is_worded_whatever_its_data(code: ReasonCode) -> None:
    """Data of other types, or none, gives one line of bounded length, and no error."""
    for data in ({}, {"text": 1, "reason": "no", "change": "x", "names": 3, "deviations": [7], "more": "y" * 100_000}):
        line = sentence(Reason(code=code, data=data))
        assert line
        assert "\n" not in line
        assert len(line) < MAX_REASON + 40


def test_a_reason_within_a_reason_keeps_its_data() -> None:
    """Nothing is cut from sentences: a part that is not wanted is left out of the data."""
    slower = reason(
        ReasonCode.SLOWER,
        change=0.5,
        limit=0.1,
        beyond_controls=True,
        controls={"copy": 0.01},
        confirm={"case": "op/a", "environment": "torch==2.14.1", "implementation": None},
    )
    assert "--confirm" in sentence(slower)
    outer = reason(
        ReasonCode.NOT_CONFIRMED, reference="baselines/", stored=slower.without("confirm"), why=text("interrupted")
    )
    said = "against baselines/ it is slower by 50 %, where the baseline allows 10 %; controls since then: copy +1.0 %"
    assert sentence(outer) == f"{said}; not confirmed: interrupted"


@pytest.mark.parametrize(("seeds", "said"), [([1], "never on seed 1,"), ([0, 1, 2], "never on seeds 0, 1, 2,")])
def test_lists_are_no_python(seeds: list[int], said: str) -> None:
    assert said in sentence(reason(ReasonCode.METRIC_LOST, metric="early loss", missing="never", seeds=[*seeds]))


def test_long_reasons_say_how_much_more_there_is() -> None:
    """An observed word of 100,000 letters, a failure of a megabyte, many pins."""
    deviation = {"what": "y", "value": "z" * 100_000, "expected": "1"}
    shown = sentence(reason(ReasonCode.DEVIATIONS, deviations=[deviation], more=2, rule="r", threads=[]))
    assert "more letters), and must be 1 and 2 more; the rule: r" in shown
    assert sentence(text("x" * 1_000_000)).endswith("… (999,000 more letters)")


def finding(**more: object) -> Finding:
    return Finding.model_validate(
        {"case": "op/a", "gate": "timing", "verdict": Verdict.PASS, "reason": text("why"), **more}, strict=False
    )


def test_findings_have_their_reason_as_data_and_in_words(tmp_path: Path) -> None:
    """The file comes back to the last bit, whatever stands as its summary."""
    judgement = Judgement(
        schema=Judgement.SCHEMA, reference="baselines/", status=ExitStatus.FINE, findings=(finding(change=0.1),)
    )
    file = json.loads(findings_json.text(judgement))
    (record,) = file["findings"]
    assert (record["reason"], record["summary"]) == ({"code": "text", "data": {"text": "why"}}, "why")
    record["summary"] = "edited"
    assert store.parse(Judgement, json.dumps(file), tmp_path) == judgement


def test_findings_of_schema_1_are_read(tmp_path: Path) -> None:
    """Their sentence becomes the text of the reason."""
    old = {"case": "op/a", "gate": "timing", "verdict": "REGRESSED", "summary": "slower by 25%", "evidence": {}}
    file = {"schema": 1, "reference": "baselines/", "status": 1, "findings": [old]}
    (read,) = store.parse(Judgement, json.dumps(file), tmp_path).findings
    assert words(read) == "slower by 25%"


@pytest.mark.parametrize(
    "evidence", [{"ratio": "x", "bound": "y"}, {"ratio": 1.0}, {"metric": 3}, {"launches": "many"}]
)
def test_evidence_of_another_type_breaks_no_table(evidence: dict[str, float | str]) -> None:
    """A file may hold it: the table is drawn without it."""
    text_ = table.rows(make_run(result("op/a")), [finding(evidence=evidence)], Screen())
    assert text_.splitlines()[2].split()[0] == "op/a"
