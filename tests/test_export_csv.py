"""``findings.csv``: read back by the standard reader, and safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io

from bnsuite.report.exports import findings_csv
from bnsuite.report.judged import Report
from judged_reports import empty, every_verdict, hostile, many


def rows(report: Report) -> list[dict[str, str]]:
    """The lines by column."""
    return list(csv.DictReader(io.StringIO(findings_csv.render(report), newline=""), strict=True))


def test_each_finding_is_a_line() -> None:
    """The worst first, with bare numbers."""
    found = rows(every_verdict())
    assert len(found) == 15
    assert [row["verdict"] for row in found[:3]] == ["REGRESSED", "REGRESSED", "FAILED"]
    assert found[1] == {
        "verdict": "REGRESSED",
        "gate": "timing",
        "case": "op/regressed",
        "family": "op",
        "change": "0.25",
        "low": "0.24",
        "high": "0.26",
        "step_seconds": "0.0011",
        "peak_bytes": "",
        "reason_code": "text",
        "reason": "a reason",
        "command": "bnsuite --device cpu --timeout 60 -k op/regressed",
    }
    assert found[0]["peak_bytes"] == str(1 << 20)
    assert rows(empty()) == []
    assert len(rows(many())) == 5000


def test_a_spreadsheet_runs_no_cell() -> None:
    """A text that begins a formula is made text by an apostrophe; a negative number stays one."""
    for report in hostile():
        for row in rows(report):
            for column, value in row.items():
                if column not in {"change", "low", "high", "step_seconds", "peak_bytes"}:
                    assert not value.startswith(("=", "+", "-", "@", "\t", "\r"))
                    assert value.isprintable()
        assert rows(report)[0]["case"].startswith("'=cmd|")
    improved = next(row for row in rows(every_verdict()) if row["verdict"] == "IMPROVED")
    assert float(improved["change"]) == -0.2


def test_a_line_of_text_is_a_line_of_the_file() -> None:
    """No cell has a line end, so that simple tools can read the file too."""
    for report in hostile():
        assert len(findings_csv.render(report).splitlines()) == 1 + len(rows(report))
