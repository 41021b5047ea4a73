"""One page: its parts in the order in which they are read, put into the template."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bnsuite import __version__
from bnsuite.judge.sensitivity import by_case
from bnsuite.record.pictures import Picture
from bnsuite.report import causes, diagnosis, doctor, findings_json, gpu, planning, resolution, table, units
from bnsuite.report.html import cases, environments, marks, news
from bnsuite.report.html import forest as plot
from bnsuite.report.html.budget import Budget, budget
from bnsuite.report.html.launches import GPU_HEADERS
from bnsuite.report.html.sentence import sentence
from bnsuite.report.judged import ComparisonReport, Report, RunReport
from bnsuite.report.replaced import replaced
from bnsuite.report.summary import last_line
from bnsuite.report.text import clipped, one_line

TEMPLATES = Path(__file__).parent / "templates"
#: Verdicts are offered for saving up to so many bytes.
MAX_SAVED_BYTES = 150_000


def text(report: Report) -> str:
    """Returns the page of a run or a comparison."""
    places = cases.anchors(report)
    shared = {
        "sentence": sentence(report),
        "cause": causes.sentence(report),
        "last_line": last_line(report.judged, list(report.judgement.findings), report.judgement.status),
        "counts": marks.counts(report.judgement.findings),
        "marks": list(marks.MARKS.values()),
        "places": places,
        "version": __version__,
        "saved": _saved(report),
        "gpu_headers": GPU_HEADERS,
        **_news(report, places),
    }
    parts = _of_comparison(report, places) if isinstance(report, ComparisonReport) else _of_run(report, places)
    style, script = (_asset(name) for name in ("style.css", "script.js"))
    return (
        _environment()
        .get_template("page.html.j2")
        .render(**shared, **parts, style=style, script=script, policy=_policy(style, script))
    )


def _news(report: Report, places: dict[str, str]) -> dict[str, Any]:
    items, more = news.items(report, places)
    return {
        "news": items,
        "more_news": more,
        "diagnosis": diagnosis.lines(report.judged, report.judgement.findings),
        "host": doctor.disturbances(report),
    }


def _of_run(report: RunReport, places: dict[str, str]) -> dict[str, Any]:
    run, reference = report.run, report.reference
    known = environments.of_run(run, reference) if reference is not None else []
    return {
        "kind": "run",
        "title": "run",
        "what": [table.heading(run), f"measured {run.started}, compared with {clipped(report.judgement.reference)}"],
        "notes": [*environments.unusual(run), *filter(None, [gpu.line(run), planning.after(run)])],
        "sides": ("baseline", "this run"),
        "facts": known,
        "fact_notes": environments.absences(reference) if reference is not None else [],
        "headers": cases.RUN_HEADERS,
        "rows": cases.rows(cases.Page(report, _budget(report)), places),
        "before": "baseline" if reference is not None else None,
        "memory_sides": ("baseline", "this run") if reference is not None else ("this run",),
        "forest": None,
        "sections": report.sections,
        "pictures": [_picture(one) for one in report.pictures],
    }


def _of_comparison(report: ComparisonReport, places: dict[str, str]) -> dict[str, Any]:
    smallest = by_case(report.b, report.times)
    findings, b = list(report.judgement.findings), report.b
    return {
        "kind": "comparison",
        "title": "comparison",
        "what": [*comparison_heading(report), f"measured {b.started}"],
        "notes": [*environments.unusual(b), *filter(None, [gpu.line(b)]), *resolution.lines(report)],
        "sides": ("A, trusted", "B, judged"),
        "facts": environments.of_comparison(report.a, b, report.times),
        "fact_notes": [],
        "headers": cases.COMPARISON_HEADERS,
        "rows": cases.rows(cases.Page(report, _budget(report), smallest), places),
        "before": "A",
        "memory_sides": ("A", "B"),
        "forest": plot.forest(findings, places, smallest),
        "sections": (),
        "pictures": [],
    }


def comparison_heading(report: ComparisonReport) -> list[str]:
    """Returns what was compared, in lines."""
    options, times = report.b.options, report.times
    named = replaced(options)
    budget_s = "" if times.budget_s is None else f", in {units.duration(times.budget_s)} at most"
    where = f"{report.b.device} · {clipped(report.b.environment.cpu)}"
    return [
        f"bnsuite {report.b.bnsuite} · ab · {options.profile} · {where}",
        f"A, trusted: {clipped(times.a)} · B, judged: {clipped(times.b)}{clipped(f', with {named}') if named else ''}",
        f"seed {times.seed}, up to {times.most_launches} launches per case and as many to confirm{budget_s}",
    ]


def _budget(report: Report) -> Budget:
    run = report.judged
    strips = sum(len(one.timings) for one in run.cases)
    if isinstance(report, ComparisonReport):
        strips = 2 * sum(len(one.launches) for one in report.times.cases)
    return budget(len(run.cases), strips, sum(bool(one.curves) for one in run.cases))


def _picture(picture: Picture) -> dict[str, Any]:
    """Returns a picture as data in the page: a browser runs nothing of one that is shown so."""
    plain = picture.name.rpartition(".")[0].replace("-", " ")
    if picture.content is None:
        return {"name": picture.name, "plain": plain, "data": None}
    content = base64.b64encode(picture.content).decode()
    return {"name": picture.name, "plain": plain, "data": f"data:{picture.media};base64,{content}"}


def _saved(report: Report) -> str | None:
    """Returns the verdicts as a link that saves them; None where they are too large."""
    content = findings_json.text(report.judgement).encode()
    if len(content) > MAX_SAVED_BYTES:
        return None
    return f"data:application/json;base64,{base64.b64encode(content).decode()}"


def _policy(style: str, script: str) -> str:
    """Returns the policy of the page: its own style and script run, pictures are data, nothing is loaded or sent."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


@cache
def _asset(name: str) -> Markup:
    """Returns a file of ours that goes into the page as it is."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704  # no text of others


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _printable(value: Any) -> Any:
    """Returns text as one line of printable letters; pictures of ours as they are."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return one_line(value)
