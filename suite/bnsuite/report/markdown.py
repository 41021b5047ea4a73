"""The report of a run or a comparison as Markdown: ``report.md``. No text of a measured process is markup."""

from __future__ import annotations

from collections.abc import Iterator

from bnsuite.report import causes, comparison, diagnosis, doctor, gpu, news, resolution, section, table, text, totals
from bnsuite.report.judged import ComparisonReport, Report, RunReport
from bnsuite.report.news import Item
from bnsuite.report.summary import last_line

#: Cases of one item that are named; the table has all of them.
MAX_CASES = 12


def render(report: Report) -> str:
    """Returns the report: heading, news, totals, a row per case, the last line, and the sections of others."""
    run = report.judged
    findings = list(report.judgement.findings)
    blocks = [
        "# bnsuite ab" if isinstance(report, ComparisonReport) else "# bnsuite",
        "\n".join(f"- {text.markdown(line)}" for line in _heading(report)),
        "\n".join(f"- {text.markdown(line)}" for line in diagnosis.lines(run, findings)),
        "\n".join(line for item in news.items(report) for line in _item(report, item)),
        text.markdown(causes.sentence(report) or ""),
        "\n".join(f"- {name}: {text.markdown(found)}" for name, found in totals.lines(run, findings)),
        "\n".join(f"- {text.markdown(line)}" for line in resolution.lines(report)),
        _table(report),
        *_gpu(report),
        f"**{text.markdown(last_line(run, findings, report.judgement.status))}**",
    ]
    sections = report.sections if isinstance(report, RunReport) else ()
    text_of_ours = "\n\n".join(block for block in blocks if block)
    return "\n".join([f"{text_of_ours}\n", *doctor.markdown(report.host), *map(section.markdown, sections)])


def _heading(report: Report) -> Iterator[str]:
    if isinstance(report, ComparisonReport):
        yield from comparison.heading(report.a, report.b, report.times)
    else:
        yield table.heading(report.run)
        yield f"against {text.clipped(report.judgement.reference)}"


def _item(report: Report, item: Item) -> Iterator[str]:
    """Yields a list entry with its cases and the command that settles it."""
    head = f"**{item.verdict.value}** {text.markdown(item.gate)}, {text.markdown(item.who)}"
    number = f"{item.places[0].number}: " if item.places[0].number and len(item.places) == 1 else ""
    reason = news.new_machine(report, item) if item.is_new_machine else f"{number}{item.reason}"
    yield f"- {head}: {text.markdown(reason)}"
    if len(item.places) > 1 and not item.is_new_machine:
        for place in item.places[:MAX_CASES]:
            yield f"  - {text.markdown(f'{place.case}: {place.number}' if place.number else place.case)}"
        if len(item.places) > MAX_CASES:
            yield f"  - and {len(item.places) - MAX_CASES} more"
    if item.command is not None:
        yield f"  - {text.code(item.command)}"


def _table(report: Report) -> str:
    findings = list(report.judgement.findings)
    if isinstance(report, ComparisonReport):
        return comparison.markdown(report.a, report.b, findings)
    return table.markdown(report.run, findings)


def _gpu(report: Report) -> Iterator[str]:
    if isinstance(report, RunReport):
        if watched := gpu.line(report.run):
            yield text.markdown(watched)
        if energy := gpu.energy(report.run):
            yield energy
