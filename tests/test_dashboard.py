"""The dashboard of Grafana and the alert rules: each expression is valid and names a metric that is exported."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from bnsuite.judge.verdict import Verdict
from bnsuite.report.exports import openmetrics
from bnsuite.report.judged import load
from conftest import ROOT
from consumers import checked, program

FOLDER = ROOT / "deploy" / "grafana"
BOARD: dict[str, Any] = json.loads((FOLDER / "bnsuite.json").read_text(encoding="utf-8"))
ALERTS = FOLDER / "alerts.yml"

#: The names of all metrics that the exporter writes.
METRICS = set(openmetrics.METRICS)
METRIC = re.compile(r"\bbnsuite_[a-z_]+")


def expressions() -> list[str]:
    """All expressions of the panels."""
    return [target["expr"] for panel in BOARD["panels"] for target in panel.get("targets", [])]


def variables() -> dict[str, dict[str, Any]]:
    """The variables of the dashboard by name."""
    return {one["name"]: one for one in BOARD["templating"]["list"]}


def test_the_dashboard_is_of_the_classic_kind() -> None:
    """Grafana migrates this schema by itself, and a panel with an id of its own is one panel."""
    assert 39 <= BOARD["schemaVersion"] <= 42
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert all(panel["title"] and panel["type"] for panel in BOARD["panels"])


def test_panels_do_not_overlap() -> None:
    """Every panel has a place of its own in the 24 columns."""
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells), panel["title"]
        taken |= cells


def test_the_data_source_is_a_variable() -> None:
    """Nothing names a data source of one Grafana."""
    sources = re.findall(r'"uid": "([^"]+)"', json.dumps(BOARD["panels"]) + json.dumps(BOARD["templating"]))
    assert set(sources) == {"${DS_PROMETHEUS}"}
    source = variables()["DS_PROMETHEUS"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")


def test_every_metric_is_exported_and_shown() -> None:
    """Panels, variables and alerts name only metrics that are written, and the panels show all of them."""
    shown = {name for expression in expressions() for name in METRIC.findall(expression)}
    assert shown == METRICS
    chosen = {name for one in variables().values() for name in METRIC.findall(one.get("definition", ""))}
    rules = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0]["rules"]
    watched = {name for rule in rules for name in METRIC.findall(rule["expr"])}
    assert chosen | watched <= METRICS


def test_every_variable_is_there_and_used() -> None:
    """Expressions use only variables that the dashboard has, and each variable chooses something."""
    used = set(re.findall(r'"\$([a-z]+)"', " ".join(expressions())))
    assert used == set(variables()) - {"DS_PROMETHEUS"}
    assert used >= {"device", "profile", "case"}


def test_verdicts_have_their_colours() -> None:
    """Each verdict has one colour wherever it is drawn, and the verdicts are those that there are."""
    (table,) = (panel for panel in BOARD["panels"] if panel["title"] == "Cases of the last run")
    text = json.dumps(table)
    for verdict in Verdict:
        assert f'"text": "{verdict.value}"' in text
    (series,) = (panel for panel in BOARD["panels"] if panel["title"] == "Findings that are not PASS")
    assert {one["matcher"]["options"] for one in series["fieldConfig"]["overrides"]} == {one.value for one in Verdict}


def test_prometheus_takes_every_expression(tmp_path: Path) -> None:
    """promtool parses the expressions of the panels, with Grafana's variables replaced as Grafana does."""
    promtool = program("promtool", "Debian's package prometheus")
    rules = [
        {"record": f"panel:{number}", "expr": re.sub(r"\$[a-z]+", ".*", expression)}
        for number, expression in enumerate(expressions())
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in checked(promtool, "check", "rules", path)


def test_every_panel_has_data_of_a_real_run(tmp_path: Path) -> None:
    """Prometheus finds series for each expression in what is exported of a run and a comparison; a CPU has no GPU's."""
    promtool = program("promtool", "Debian's package prometheus")
    with tarfile.open(ROOT / "tests" / "data" / "written-by-0.3.0.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    exported = [openmetrics.render(load(tmp_path / name, tmp_path / "baselines")) for name in ("run", "ab")]
    lines = [line for text in exported for line in text.splitlines() if not line.startswith("#")]
    series = [
        {"series": re.sub(r"\{", '{instance="node1",', line.rpartition(" ")[0], count=1), "values": f"{value}x5"}
        for line in lines
        for value in [line.rpartition(" ")[2]]
    ]
    expected = [
        {
            "expr": f"count({re.sub(r'[$][a-z]+', '.*', one)}) > bool 0",
            "eval_time": "2m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for one in expressions()
        if "bnsuite_gpu_" not in one
    ]
    assert len(expected) > 10
    path = tmp_path / "test.yml"
    content = {"interval": "1m", "input_series": series, "promql_expr_test": expected}
    path.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [content]}))
    assert "SUCCESS" in checked(promtool, "test", "rules", path)


def test_prometheus_takes_the_alerts() -> None:
    """promtool finds nothing wrong with the rules."""
    assert "4 rules found" in checked(program("promtool", "Debian's package prometheus"), "check", "rules", ALERTS)


LABELS = 'instance="node1",kind="run",profile="full",device="cuda:0"'


@pytest.mark.parametrize(
    ("series", "at", "firing"),
    [
        # A run each night at the start of the series: nothing fires, and the stale file fires a day later.
        ({f"bnsuite_run_timestamp_seconds{{{LABELS}}}": "0x2000"}, "25h", set()),
        ({f"bnsuite_run_timestamp_seconds{{{LABELS}}}": "0x2000"}, "27h", {"BnsuiteNoFreshRun"}),
        ({}, "25h", set()),
        ({}, "27h", {"BnsuiteNeverRan"}),
        (
            {
                f"bnsuite_run_timestamp_seconds{{{LABELS}}}": "0x2000",
                f'bnsuite_findings{{{LABELS},gate="timing",verdict="REGRESSED"}}': "2x2000",
                f'bnsuite_findings{{{LABELS},gate="memory",verdict="REGRESSED"}}': "0x2000",
            },
            "1h",
            {"BnsuiteRegressed"},
        ),
        (
            {
                f"bnsuite_run_timestamp_seconds{{{LABELS}}}": "0x2000",
                f'bnsuite_findings{{{LABELS},gate="timing",verdict="INCONCLUSIVE"}}': "2x2000",
            },
            "1h",
            set(),
        ),
        (
            {
                f"bnsuite_run_timestamp_seconds{{{LABELS}}}": "0+60x2000",
                f"bnsuite_run_exit_status{{{LABELS}}}": "3x2000",
            },
            "25h",
            set(),
        ),
        (
            {
                f"bnsuite_run_timestamp_seconds{{{LABELS}}}": "0+60x2000",
                f"bnsuite_run_exit_status{{{LABELS}}}": "3x1440 2x1000",
            },
            "27h",
            {"BnsuiteNotMeasured"},
        ),
    ],
)
def test_alerts_fire_when_they_should(tmp_path: Path, series: dict[str, str], at: str, firing: set[str]) -> None:
    """Prometheus evaluates the rules over made-up nights: each alert fires in its case, and in no other."""
    rules = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0]["rules"]
    expected = [{"expr": f'count(ALERTS{{alertname="{rule["alert"]}",alertstate="firing"}})'} for rule in rules]
    tests = [
        {
            **one,
            "eval_time": at,
            "exp_samples": [{"labels": "{}", "value": 1}] if rule["alert"] in firing else [],
        }
        for one, rule in zip(expected, rules, strict=True)
    ]
    path = tmp_path / "test.yml"
    content = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": tests,
            }
        ],
    }
    path.write_text(yaml.safe_dump(content))
    assert "SUCCESS" in checked(program("promtool", "Debian's package prometheus"), "test", "rules", path)
