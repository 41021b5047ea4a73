"""``doctor.json``: written beside a run, read with every field checked, removed with the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnsuite.record import host
from bnsuite.record.errors import InputError
from bnsuite.record.folder import HOST, RUN, ResultsFolder
from bnsuite.record.host import CheckState, DetectableChange, HostCheck, HostReport, NoiseFloor

REPORT = HostReport(
    schema=1,
    bnsuite="0.5.0",
    taken="2026-11-28T00:00:00+00:00",
    checks=(
        HostCheck(name="load", state=CheckState.DISTURBS, observed={"load": 3.2, "cores": 2}, fix="end-other-work"),
        HostCheck(name="steal", state=CheckState.OK, observed={"share": 0.0, "list": [1, "a", None]}),
    ),
    noise=NoiseFloor(
        case="op/a",
        device="cpu",
        launches=4,
        deviation=0.01,
        launch_s=7.0,
        most_launches=30,
        changes=(DetectableChange(change=0.01, launches=None, needs_s=None),),
    ),
)


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    """With whatever a check observed; a folder without one has none."""
    assert host.load(tmp_path) is None
    host.save(None, tmp_path)
    assert host.load(tmp_path) is None
    host.save(REPORT, tmp_path)
    assert host.load(tmp_path) == REPORT


def test_a_report_that_can_not_be_written_spoils_nothing(tmp_path: Path) -> None:
    """The measurement has its own files to complain about."""
    host.save(REPORT, tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"schema": 2}',
        '{"schema": 1}',
        '{"schema": 1, "bnsuite": "x", "taken": "x", "checks": [{"name": "a\\u001b", "state": "ok"}]}',
        '{"schema": 1, "bnsuite": "x", "taken": "x", "checks": [{"name": "a", "state": "fine"}]}',
        '{"schema": 1, "bnsuite": "x", "taken": "x", "checks": [], "more": 1}',
        '{"schema": 1, "bnsuite": "x", "taken": "x", "checks": [{"name": "a", "state": "ok", "fix": "rm -rf"}]}',
    ],
)
def test_a_damaged_report_is_one_line(tmp_path: Path, text: str) -> None:
    """Cut off, of a newer bnsuite, or with fields of other types."""
    (tmp_path / HOST).write_text(text)
    with pytest.raises(InputError) as caught:
        host.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / HOST}: ")
    assert str(caught.value).isprintable()


def test_the_status_is_that_of_the_worst_check() -> None:
    """A disturbance wins over what could not be looked at, and that over what is fine."""

    def status(*states: CheckState) -> int:
        checks = tuple(HostCheck(name=f"c{n}", state=state) for n, state in enumerate(states))
        return REPORT.model_copy(update={"checks": checks}).status

    assert status() == status(CheckState.OK, CheckState.NOT_APPLICABLE) == 0
    assert status(CheckState.OK, CheckState.UNKNOWN) == 2
    assert status(CheckState.UNKNOWN, CheckState.DISTURBS, CheckState.OK) == 1


def test_a_report_goes_with_its_run(tmp_path: Path) -> None:
    """The next run in the folder takes its own."""
    (tmp_path / RUN).write_text("{}")
    host.save(REPORT, tmp_path)
    ResultsFolder(tmp_path).clean()
    assert not (tmp_path / HOST).exists()
