"""Files beside a run: all are written, and a fault of one costs no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bnsuite.judge.verdict import ExitStatus, Judgement
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.report import judged, writers
from bnsuite.report.section import Section
from conftest import make_run

JUDGEMENT = Judgement(schema=Judgement.SCHEMA, reference="baselines/", status=ExitStatus.FINE, findings=())
RUN = judged.RunReport(make_run(), JUDGEMENT, (Section("More", summary="a * b"),))
TIMES = InterleavedTimes(schema=2, a="A", b="B", seed=0, most_launches=18, budget_s=None, variables={}, cases=())


@pytest.mark.parametrize("report", [RUN, judged.ComparisonReport(make_run(), make_run(), TIMES, JUDGEMENT)])
def test_every_file_is_written(report: judged.Report, tmp_path: Path) -> None:
    """Of a run as of a comparison."""
    assert writers.write(report, tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == set(writers.WRITERS)
    assert json.loads((tmp_path / writers.FINDINGS).read_text())["schema"] == Judgement.SCHEMA


def test_a_section_of_others_ends_a_report(tmp_path: Path) -> None:
    """As the claims of the articles do."""
    writers.write(RUN, tmp_path)
    assert (tmp_path / writers.REPORT).read_text().endswith("## More\n\na \\* b\n")


def test_a_writer_that_fails_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that raises, nor one whose file can't be replaced; each is one line."""

    def raises(_: judged.Report) -> str:
        raise KeyError("x")

    monkeypatch.setattr(writers, "WRITERS", {"broken.xml": raises, **writers.WRITERS})
    (tmp_path / writers.FINDINGS / "kept").mkdir(parents=True)
    errors = [str(error) for error in writers.write(RUN, tmp_path)]
    assert [error.partition(": ")[0] for error in errors] == [
        str(tmp_path / "broken.xml"),
        str(tmp_path / writers.FINDINGS),
    ]
    assert not any("\n" in error for error in errors)
    assert (tmp_path / writers.REPORT).exists()
