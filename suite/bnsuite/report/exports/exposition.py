"""Gauges in a text that both parsers of Prometheus take: 0.0.4, as node_exporter reads it, and OpenMetrics 1.0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bnsuite.report import text


@dataclass(frozen=True)
class Sample:
    """One value of a metric."""

    metric: str
    value: float
    labels: Mapping[str, str]


def exposition(samples: Iterable[Sample], helps: Mapping[str, str]) -> str:
    """Returns the file: gauges without timestamps, each metric in one piece and in the order of `helps`.

    A second sample with the labels of an earlier one is left out: both parsers refuse it. ``# EOF`` is what OpenMetrics
    asks for, and a comment to the older parser.
    """
    by_metric: dict[str, dict[str, float]] = {name: {} for name in helps}
    for one in samples:
        by_metric[one.metric].setdefault(_labels(one.labels), one.value)
    lines = []
    for name, series in by_metric.items():
        if series:
            lines += [f"# HELP {name} {helps[name]}", f"# TYPE {name} gauge"]
            lines += [f"{name}{labels} {value!r}" for labels, value in series.items()]
    return "\n".join([*lines, "# EOF", ""])


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f"{name}={text.label(text.clipped(value, text.MAX_CELL))}" for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""
