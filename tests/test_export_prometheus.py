"""Metrics as Prometheus reads them: by both parsers of its client, and by promtool's rules for names."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import pytest
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from bnsuite.judge.verdict import Verdict
from bnsuite.report.exports import gitlab, openmetrics
from bnsuite.report.judged import Report
from judged_reports import compared, empty, every_verdict, finding, hostile, judgement, many, on_gpu

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
REPORTS = [every_verdict(), compared(), empty(), on_gpu(), *hostile()]
NAMES = ["run", "comparison", "empty", "gpu", "hostile run", "hostile comparison"]


def samples(text: str, parse: Callable[[str], object] = text_string_to_metric_families) -> Samples:
    """All samples by name and labels, as a parser reads them."""
    found = {}
    for family in parse(text):  # type: ignore[attr-defined]
        assert family.type == "gauge"
        assert family.documentation
        for one in family.samples:
            assert one.timestamp is None  # node_exporter leaves out a file that has one
            key = (one.name, frozenset(one.labels.items()))
            assert key not in found
            found[key] = one.value
    return found


def values(report: Report, name: str) -> dict[tuple[str, ...], float]:
    """The samples of a metric by the values of its own labels, in the order of their names."""
    common = {"kind", "profile", "device", "gpu", "UUID"}
    return {
        tuple(value for label, value in sorted(labels) if label not in common): value
        for (metric, labels), value in samples(openmetrics.render(report)).items()
        if metric == name
    }


@pytest.mark.parametrize("render", [openmetrics.render, gitlab.render])
@pytest.mark.parametrize("report", REPORTS, ids=NAMES)
def test_both_parsers_read_the_same(report: Report, render: Callable[[Report], str]) -> None:
    """The one of text format 0.0.4, and the strict one of OpenMetrics, which wants an end."""
    text = render(report)
    assert text.endswith("\n# EOF\n")
    assert samples(text) == samples(text, openmetrics_parser.text_string_to_metric_families) != {}


@pytest.mark.parametrize("report", REPORTS, ids=NAMES)
def test_promtool_has_nothing_to_say(report: Report) -> None:
    """About names, units or help; Debian's package prometheus has it."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (apt-get install prometheus)")
    for render in (openmetrics.render, gitlab.render):
        done = subprocess.run(
            [promtool, "check", "metrics"], input=render(report), capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_name_is_in_the_list() -> None:
    """And every name of the list is written, by a run on a GPU or by one with every verdict."""
    written = {name for report in REPORTS for name, _ in samples(openmetrics.render(report))}
    assert written == set(openmetrics.METRICS)


def test_a_run_is_described() -> None:
    """When, how long, how it ended, with what."""
    report = every_verdict()
    assert values(report, "bnsuite_run_timestamp_seconds") == {(): 1767323045.0}
    assert values(report, "bnsuite_run_duration_seconds") == {(): 42.0}
    assert values(report, "bnsuite_run_exit_status") == {(): 1.0}
    assert values(report, "bnsuite_run_finished") == {(): 1.0}
    assert values(empty(), "bnsuite_run_finished") == {(): 0.0}
    (info,) = (dict(labels) for name, labels in samples(openmetrics.render(report)) if name == "bnsuite_run_info")
    assert info == {
        "kind": "run",
        "profile": "quick",
        "device": "cpu",
        "bnsuite": "0.1.0",
        "torch": "2.14.1",
        "cuda": "",
        "cudnn": "",
        "python": "3.12.1",
        "driver": "",
        "cpu": "Some CPU (1/2/3)",
        "reference": "baselines/",
    }


def test_findings_are_counted_also_where_there_are_none() -> None:
    """Every verdict of every gate that judged, so that an alert has a series before its first regression."""
    counts = values(every_verdict(), "bnsuite_findings")
    assert len(counts) == 4 * len(Verdict)
    assert counts["timing", "PASS"] == 2
    assert counts["numerics", "REGRESSED"] == 0


def test_cases_have_their_numbers() -> None:
    """Times of what is INVALID or FAILED are none; its memory is exact all the same."""
    report = every_verdict()
    steps = values(report, "bnsuite_case_step_seconds")
    assert steps["op/pass",] == 0.0011
    assert ("op/invalid",) not in steps
    assert ("op/failed",) not in steps
    assert values(report, "bnsuite_case_peak_bytes")["op/invalid",] == 1 << 20
    assert values(report, "bnsuite_case_copy_bandwidth_ratio")["op/pass",] == pytest.approx(5e-4 / 1.1e-3)
    assert values(compared(), "bnsuite_case_copy_bandwidth_ratio") == {}
    changes = [
        values(report, f"bnsuite_case_change_{part}ratio")["op/regressed", "timing"] for part in ("", "low_", "high_")
    ]
    assert changes == [0.25, 0.24, 0.26]


def test_verdicts_are_series_of_their_own() -> None:
    """Of checks, of which there are thousands, those that are not PASS."""
    verdicts = values(every_verdict(), "bnsuite_case_verdict")
    assert verdicts["op/inconclusive", "timing", "INCONCLUSIVE"] == 1
    assert {gate for _, gate, _ in verdicts} == {"timing", "memory", "convergence"}
    report = every_verdict()
    wrong = judgement([finding("numerics/strides/1", "numerics", Verdict.REGRESSED)])
    assert values(type(report)(report.run, wrong), "bnsuite_case_verdict") == {
        ("numerics/strides/1", "numerics", "REGRESSED"): 1
    }


def test_a_gpu_joins_the_metrics_of_dcgm() -> None:
    """By the labels `gpu` and `UUID` as dcgm-exporter has them; clocks are in hertz."""
    found = {name: (dict(labels), value) for (name, labels), value in samples(openmetrics.render(on_gpu())).items()}
    labels = {"kind": "run", "profile": "quick", "device": "cuda:1", "gpu": "1", "UUID": "GPU-1"}
    assert found["bnsuite_gpu_sm_clock_min_hertz"] == (labels, 1.7e9)
    assert found["bnsuite_gpu_sm_clock_max_hertz"] == (labels, 1.98e9)
    assert found["bnsuite_gpu_temperature_max_celsius"] == (labels, 50)
    assert found["bnsuite_gpu_power_max_watts"] == (labels, 300)


def test_hostile_labels_stay_labels() -> None:
    """Quotes, backslashes and line ends neither end a value nor begin a line."""
    for report in hostile():
        text = openmetrics.render(report)
        assert {line.split()[0] for line in text.splitlines() if line.startswith("#")} == {"#"}
        assert not any(line.startswith("# TYPE x") for line in text.splitlines())
        cases = {dict(labels).get("case", "") for _, labels in samples(text)}
        assert any("\\" in case and '"' in case for case in cases)


def test_gitlab_gets_what_stays_the_same_without_news() -> None:
    """It shows each value that differs as text: no times, no bounds, changes to 1 % and of certain verdicts alone."""
    report = every_verdict()
    found = samples(gitlab.render(report))
    assert {name for name, _ in found} == {
        *("bnsuite_run_exit_status", "bnsuite_run_finished", "bnsuite_findings", "bnsuite_case_change_ratio")
    }
    changes = {dict(labels)["case"]: value for (name, labels), value in found.items() if name.endswith("change_ratio")}
    assert changes == {"op/regressed": 0.25, "op/improved": -0.2, "train/w/bn/x": 0.5}
    slower = report.run.model_copy(update={"wall_s": 50.0, "started": "2026-01-03T00:00:00+00:00"})
    assert gitlab.render(type(report)(slower, report.judgement)) == gitlab.render(report)
    assert len([one for one in samples(gitlab.render(many())) if one[0].endswith("change_ratio")]) == 50


def test_gitlab_knows_no_single_gpu() -> None:
    """The next pipeline may get another one."""
    labels = dict(next(labels for _, labels in samples(gitlab.render(on_gpu()))))
    assert labels == {"kind": "run", "profile": "quick", "device": "cuda"}
