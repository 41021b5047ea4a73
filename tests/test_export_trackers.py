"""JSON for trackers, held to what each of them documents; the source is named beside each check."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bnsuite.judge.verdict import Verdict
from bnsuite.report.exports import bmf, ctrf, github_action_benchmark, pytorch_hud
from bnsuite.report.judged import Report
from judged_reports import compared, empty, every_verdict, hostile, many, on_gpu

REPORTS = pytest.mark.parametrize(
    "report",
    [every_verdict(), compared(), empty(), on_gpu(), many(300), *hostile()],
    ids=["run", "comparison", "empty", "gpu", "many", "hostile run", "hostile comparison"],
)


def is_number(value: object) -> bool:
    """A number of JSON, finite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


@REPORTS
def test_bencher_takes_the_file(report: Report) -> None:
    """By its rules, https://bencher.dev/docs/reference/bencher-metric-format: numbers, and names of bounded length."""
    for benchmark, measures in json.loads(bmf.render(report)).items():
        assert 0 < len(benchmark) <= 1024
        assert measures
        for measure, metric in measures.items():
            assert 0 < len(measure) <= 64
            assert {"value"} <= set(metric) <= {"value", "lower_value", "upper_value"}
            assert all(map(is_number, metric.values()))
            assert (
                metric.get("lower_value", metric["value"])
                <= metric["value"]
                <= metric.get("upper_value", metric["value"])
            )


def test_bencher_gets_nanoseconds_and_intervals() -> None:
    """Its built-in measure of latency is in nanoseconds."""
    benchmarks = json.loads(bmf.render(every_verdict()))
    assert benchmarks["op/regressed"] == {
        "latency": {"value": pytest.approx(1.1e6), "lower_value": 1e6, "upper_value": pytest.approx(1.2e6)},
        "peak-memory": {"value": 1 << 20},
        "timing-change": {"value": 0.25, "lower_value": 0.24, "upper_value": 0.26},
    }
    assert "latency" not in benchmarks["op/invalid"]


@REPORTS
def test_the_action_takes_the_file(report: Report) -> None:
    """As `BenchmarkResult` in src/extract.ts of benchmark-action/github-action-benchmark has it."""
    entries = json.loads(github_action_benchmark.render(report))
    assert isinstance(entries, list)
    for entry in entries:
        assert {"name", "value", "unit"} <= set(entry) <= {"name", "value", "unit", "range", "extra"}
        assert is_number(entry["value"])
        assert all(isinstance(entry[key], str) for key in set(entry) - {"value"})
    assert len({entry["name"] for entry in entries}) == len(entries)  # an earlier result is found by its name


def test_the_action_gets_one_unit_a_name() -> None:
    """It compares numbers of one name, whatever their units are."""
    entries = {one["name"]: one for one in json.loads(github_action_benchmark.render(every_verdict()))}
    assert entries["op/regressed"] == {
        "name": "op/regressed",
        "unit": "µs",
        "value": pytest.approx(1100),
        "range": "± 100",
        "extra": "3 launches\nREGRESSED +25.0 %: a reason",
    }
    assert entries["train/w/bn/x [peak memory]"]["value"] == 1 << 20
    assert "op/failed" not in entries


#: clickhouse_db_schema/oss_ci_benchmark_v3/schema.sql of pytorch/test-infra: the columns that a record fills.
TEXTS: dict[str, Any] = {}
HUD: dict[str, dict[str, Any]] = {
    "benchmark": {"name": str, "mode": str, "dtype": str, "extra_info": TEXTS},
    "model": {"name": str, "type": str, "backend": str, "origins": list, "extra_info": TEXTS},
    "metric": {"name": str, "benchmark_values": list, "target_value": float, "extra_info": TEXTS},
}
RUNNER: dict[str, Any] = {
    **dict.fromkeys(("name", "type", "cpu_info", "mem_info", "gpu_info", "gpu_mem_info"), str),
    **dict.fromkeys(("cpu_count", "avail_mem_in_gb", "gpu_count", "avail_gpu_mem_in_gb"), int),
    "extra_info": TEXTS,
}
DEPENDENCY: dict[str, Any] = {**dict.fromkeys(("repo", "branch", "sha", "version"), str), "extra_info": TEXTS}


def fits(record: dict[str, Any], columns: dict[str, Any]) -> bool:
    """Every field is a column, and has its type; what is extra is text by name."""
    return set(record) <= set(columns) and all(
        all(isinstance(one, str) for one in record[key].values()) if kind is TEXTS else isinstance(record[key], kind)
        for key, kind in columns.items()
        if key in record
    )


@REPORTS
def test_the_hud_takes_the_records(report: Report) -> None:
    """Each has a benchmark, a model and a metric with values."""
    for record in json.loads(pytorch_hud.render(report)):
        assert set(record) == {*HUD, "runners", "dependencies"}
        assert all(fits(record[name], columns) for name, columns in HUD.items())
        assert all(fits(runner, RUNNER) for runner in record["runners"])
        assert all(fits(dependency, DEPENDENCY) for dependency in record["dependencies"].values())
        assert record["metric"]["benchmark_values"]
        assert all(map(is_number, record["metric"]["benchmark_values"]))


def test_the_hud_gets_launches_and_verdicts() -> None:
    """A value per launch; verdict and interval are extra; a GPU is part of the runner."""
    records = json.loads(pytorch_hud.render(every_verdict()))
    step = next(one for one in records if one["model"]["name"] == "op/regressed")
    assert step["metric"] == {
        "name": "step_time_s",
        "benchmark_values": [0.001, 0.0011, 0.0012],
        "extra_info": {"verdict": "REGRESSED", "change": "0.25", "low": "0.24", "high": "0.26"},
    }
    assert step["dependencies"]["pytorch"]["version"] == "2.14.1"
    (runner,) = json.loads(pytorch_hud.render(on_gpu()))[0]["runners"]
    assert (runner["type"], runner["gpu_info"], runner["avail_gpu_mem_in_gb"]) == ("cuda", "Some GPU", 80)


#: schema/ctrf.schema.json of ctrf-io/ctrf: what is required, and what a test may have.
SUMMARY = {"tests", "passed", "failed", "skipped", "pending", "other", "start", "stop"}
TEST: dict[str, type] = {
    **dict.fromkeys(("name", "status", "rawStatus", "message"), str),
    "duration": int,
    "suite": list,
    "extra": dict,
}


@REPORTS
def test_ctrf_is_as_specified(report: Report) -> None:
    """Whole milliseconds, counts that add up, no field that the schema has not."""
    file = json.loads(ctrf.render(report))
    assert (file["reportFormat"], file["specVersion"].count(".")) == ("CTRF", 2)
    results = file["results"]
    assert set(results) == {"tool", "summary", "tests"}
    assert results["tool"]["name"] == "bnsuite"
    summary = results["summary"]
    assert SUMMARY <= set(summary) <= {*SUMMARY, "extra"}
    assert all(type(summary[name]) is int for name in SUMMARY)
    assert (
        summary["tests"] == len(results["tests"]) == sum(summary[name] for name in SUMMARY - {"tests", "start", "stop"})
    )
    for test in results["tests"]:
        assert {"name", "status", "duration"} <= set(test) <= set(TEST)
        assert all(type(test[name]) is TEST[name] for name in test)
        assert test["name"]
        assert test["suite"]


def test_ctrf_has_a_state_for_inconclusive() -> None:
    """Of its five, the one that is neither passed, failed nor skipped."""
    states: dict[str, str] = {}
    for test in json.loads(ctrf.render(every_verdict()))["results"]["tests"]:
        assert states.setdefault(test["rawStatus"], test["status"]) == test["status"]
    assert [name for name, state in states.items() if state == "other"] == ["INCONCLUSIVE"]
    assert {name for name, state in states.items() if state == "failed"} == {
        "REGRESSED",
        "FAILED",
        "MISSING",
        "INVALID",
    }
    assert set(states) == {one.value for one in Verdict}
