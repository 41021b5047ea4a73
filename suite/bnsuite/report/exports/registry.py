"""The formats there are; the command line makes its flags and its help of this list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnsuite.report.judged import Report

Renderer = Callable[["Report"], str]


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


#: Of a job's summary: GitHub takes 1 MiB per step, and of a longer file nothing at all.
SUMMARY_BYTES = 900 << 10


def _late(module: str, function: str = "render") -> Callable[..., str]:
    """Returns a function of a format's module, which is imported when it is called: every ``--help`` comes by here."""

    def call(*arguments: Any) -> str:
        render: Callable[..., str] = getattr(import_module(f"bnsuite.report.exports.{module}"), function)
        return render(*arguments)

    return call


EXPORTS = (
    Export(
        "junit",
        "junit.xml",
        "JUnit: GitLab, Jenkins and others",
        _late("junit"),
        strict=_late("junit", "render_strict"),
    ),
    Export(
        *("github-summary", "github-summary.md", "the summary of a GitHub job", _late("github_summary")),
        within=_late("github_summary", "render_within"),
        most_bytes=SUMMARY_BYTES,
    ),
    Export("github-annotations", None, "annotations of a GitHub job", _late("github_annotations")),
    Export("gitlab", "gitlab-metrics.txt", "GitLab's metrics report", _late("gitlab")),
    Export("comment", "comment.md", "a comment on a pull request", _late("comment")),
    Export("openmetrics", "bnsuite.prom", "Prometheus: node_exporter's textfile collector", _late("openmetrics")),
    Export("bmf", "bmf.json", "Bencher", _late("bmf")),
    Export(
        "github-action-benchmark",
        "github-action-benchmark.json",
        "the action of that name",
        _late("github_action_benchmark"),
    ),
    Export("pytorch-hud", "pytorch-hud.json", "PyTorch's HUD, records of v3", _late("pytorch_hud")),
    Export("ctrf", "ctrf.json", "Common Test Report Format", _late("ctrf")),
    Export("csv", "findings.csv", "spreadsheets and data frames", _late("findings_csv")),
)

#: The names of all files, for whoever cleans a folder.
FILES = tuple(one.file for one in EXPORTS if one.file is not None)
