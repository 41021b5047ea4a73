"""The checks of a host in words: terminal, JSON, Markdown, and the line beside verdicts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bnsuite.judge.verdict import ExitStatus, Judgement
from bnsuite.record import host as record
from bnsuite.record import store
from bnsuite.record.host import CheckState, HostCheck, HostReport
from bnsuite.record.interleaved import InterleavedTimes, save
from bnsuite.report import doctor, findings_json, writers
from bnsuite.report.doctor_fixes import FIXES, fix_of
from bnsuite.report.judged import ComparisonReport, RunReport, load
from bnsuite.report.section import Section
from conftest import make_run
from test_host import REPORT

LOAD, STEAL = REPORT.checks
QUOTA = HostCheck(
    name="cpu-quota", state=CheckState.DISTURBS, observed={"quota_cores": 1.5, "needed": 2}, fix="raise-quota"
)
DISK = HostCheck(name="disk-results", state=CheckState.DISTURBS, observed={}, fix="free-results")
JUDGEMENT = Judgement(schema=Judgement.SCHEMA, reference="baselines/", status=ExitStatus.FINE, findings=())
TIMES = InterleavedTimes(schema=2, a="A", b="B", seed=0, most_launches=18, budget_s=None, variables={}, cases=())


def of(*checks: HostCheck) -> HostReport:
    return REPORT.model_copy(update={"checks": checks, "noise": None})


def test_the_terminal_is_quiet_about_what_is_fine() -> None:
    """A line per finding with its fix, one per cause of what is unknown, and the status; --all has one per check."""
    unknown = HostCheck(name="load", state=CheckState.UNKNOWN, observed={"error": "x"})
    steal = STEAL.model_copy(update={"observed": {"share": 0.001, "since_boot": 0.0}})
    other = unknown.model_copy(update={"name": "numa"})
    assert doctor.terminal(of(unknown, LOAD, steal, other)).splitlines() == [
        "disturbs load: load 3.2 on 2 cores; end other work, or wait until it is done",
        "unknown load, numa: could not look: x",
        "fine: steal",
        "not fit to measure undisturbed: 1 disturb, 2 unknown, 1 ok (exit status 1)",
    ]
    shown = doctor.terminal(of(steal), everything=True).splitlines()
    assert shown == [
        "ok steal: 0.1 % of CPU time stolen, 0.0 % since the boot",
        "fit to measure: 1 ok (exit status 0)",
    ]


def test_what_disturbs_times_is_one_line_beside_verdicts() -> None:
    """A full disk does not; a quiet host, or one that was not looked at, has none."""
    report = RunReport(make_run(), JUDGEMENT, host=of(LOAD, QUOTA, STEAL, DISK))
    assert doctor.disturbances(report) == ["this host: load 3.2 on 2 cores; CPU quota 1.5 cores, 2 needed"]
    assert doctor.disturbances(report.host) == doctor.disturbances(report)
    assert doctor.disturbances(of(STEAL, DISK)) == []
    assert doctor.disturbances(RunReport(make_run(), JUDGEMENT)) == doctor.disturbances(None) == []


@pytest.mark.parametrize("check", [LOAD, QUOTA, STEAL, DISK])
@pytest.mark.parametrize("value", ["\x1b[31m\n# x\u202e", [], {"a": "b\r\n"}, None, 1e300, "x" * 5000])
def test_hostile_observations_are_one_line(check: HostCheck, value: object) -> None:
    """Whatever lies in a file, it is printable and short."""
    hostile = check.model_copy(
        update={"observed": dict.fromkeys(("load", "cores", "quota_cores", "error", "share"), value)}
    )
    assert doctor.line(hostile).isprintable()
    assert len(doctor.line(hostile)) < 2200
    other = hostile.model_copy(update={"name": "of-a-newer-bnsuite", "fix": "unheard-of"})
    assert doctor.line(other).isprintable()
    assert doctor.line(other).endswith("unheard-of" if other.fix else "")


def test_markup_in_observations_is_no_markup() -> None:
    """In the report for people a governor named as a link is a name."""
    check = HostCheck(
        name="governor",
        state=CheckState.DISTURBS,
        observed={"governors": ["[x](http://y) <b>"]},
        fix="performance-governor",
    )
    (section,) = doctor.markdown(of(check))
    assert "\\[x\\](http://y) &lt;b&gt;" in section
    assert "(back: -g '\\[x\\](http://y) &lt;b&gt;')" in section
    assert doctor.markdown(of(STEAL)) == doctor.markdown(None) == []


def test_the_json_has_words_beside_the_data() -> None:
    """And the status, and what the noise amounts to."""
    found = json.loads(doctor.as_json(REPORT))
    assert found["status"] == 1
    assert found["checks"][0]["text"] == "load 3.2 on 2 cores"
    assert found["checks"][0]["fix_text"] == FIXES["end-other-work"]
    assert found["noise"]["text"] == [
        (
            "noise floor on cpu: launches of a small layer compared with itself deviate by 1.0 % "
            "(4 launches, about 7 s each)"
        ),
        (
            "`bnsuite ab` of one small layer here: 1 % can't be shown within the 60 launches that --profile full makes "
            "at most"
        ),
    ]
    assert "noise" not in json.loads(doctor.as_json(of(LOAD)))


def test_a_fix_names_the_value_to_go_back_to() -> None:
    """As it was observed, of bounded length."""
    assert fix_of("performance-governor", {"governors": ["powersave"]}).endswith("(back: -g powersave)")
    assert fix_of("performance-governor", {"governors": ["x; reboot"]}).endswith("(back: -g 'x; reboot')")
    assert "..." in fix_of("performance-governor", {})


@pytest.mark.parametrize("compared", [False, True])
def test_a_judged_folder_comes_with_its_host(tmp_path: Path, compared: bool) -> None:
    """Loaded with the run or the comparison, and shown in its report for people."""
    run = make_run()
    report: RunReport | ComparisonReport = RunReport(run, JUDGEMENT, (Section("Claims"),), host=of(LOAD))
    if compared:
        report = ComparisonReport(run, run, TIMES, JUDGEMENT, host=of(LOAD))
        save(TIMES, tmp_path)
        for side in ("a", "b"):
            (tmp_path / side).mkdir()
            store.save(run, tmp_path / side)
    else:
        store.save(run, tmp_path)
    assert writers.write(report, tmp_path) == []
    text = (tmp_path / writers.REPORT).read_text()
    assert "\n## The host as the measurement began\n\n- disturbs load: load 3.2 on 2 cores;" in text
    assert compared or text.rstrip().endswith("## Claims")
    (tmp_path / writers.FINDINGS).write_text(findings_json.text(JUDGEMENT))
    assert load(tmp_path, tmp_path).host is None
    record.save(of(LOAD), tmp_path)
    assert load(tmp_path, tmp_path).host == of(LOAD)
