"""The formats there are; the command line makes its flags and its help of this list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bnsuite.report.exports import (
    bmf,
    comment,
    ctrf,
    findings_csv,
    github_action_benchmark,
    github_annotations,
    github_summary,
    gitlab,
    junit,
    openmetrics,
    pytorch_hud,
)
from bnsuite.report.judged import Report

Renderer = Callable[[Report], str]


@dataclass(frozen=True)
class Export:
    """A format: the name of its flag, its file (None: it is printed), who reads it, and its function."""

    name: str
    file: str | None
    consumer: str
    render: Renderer
    #: The function in its place with ``--strict``.
    strict: Renderer | None = None
    #: Returns a shorter text, of at most so many bytes, for a file that others write into as well.
    within: Callable[[Report, int], str] | None = None
    most_bytes: int = 0


EXPORTS = (
    Export("junit", "junit.xml", "JUnit: GitLab, Jenkins and others", junit.render, strict=junit.render_strict),
    Export(
        *("github-summary", "github-summary.md", "the summary of a GitHub job", github_summary.render),
        within=github_summary.render_within,
        most_bytes=github_summary.MOST_BYTES,
    ),
    Export("github-annotations", None, "annotations of a GitHub job", github_annotations.render),
    Export("gitlab", "gitlab-metrics.txt", "GitLab's metrics report", gitlab.render),
    Export("comment", "comment.md", "a comment on a pull request", comment.render),
    Export("openmetrics", "bnsuite.prom", "Prometheus: node_exporter's textfile collector", openmetrics.render),
    Export("bmf", "bmf.json", "Bencher", bmf.render),
    Export(
        "github-action-benchmark",
        "github-action-benchmark.json",
        "the action of that name",
        github_action_benchmark.render,
    ),
    Export("pytorch-hud", "pytorch-hud.json", "PyTorch's HUD, records of v3", pytorch_hud.render),
    Export("ctrf", "ctrf.json", "Common Test Report Format", ctrf.render),
    Export("csv", "findings.csv", "spreadsheets and data frames", findings_csv.render),
)

#: The names of all files, for whoever cleans a folder.
FILES = tuple(one.file for one in EXPORTS if one.file is not None)
