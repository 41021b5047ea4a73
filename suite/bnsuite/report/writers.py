"""The files that are written beside a run or a comparison, one writer each.

An output format is a module of its own and a line here. Whoever writes reports and whoever cleans a folder of results
goes by this list.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bnsuite.record.errors import InputError, WriteError
from bnsuite.record.files import write_atomically
from bnsuite.record.folder import FINDINGS, REPORT, REPORT_HTML
from bnsuite.report import findings_json, markdown
from bnsuite.report.exports import registry
from bnsuite.report.judged import Report

Writer = Callable[[Report], str]


def _html(report: Report) -> str:
    from bnsuite.report import html  # its templates are loaded where a page is made

    return html.text(report)


#: By the name of the file.
WRITERS: dict[str, Writer] = {
    FINDINGS: lambda report: findings_json.text(report.judgement) + "\n",
    REPORT: markdown.render,
    REPORT_HTML: _html,
}


#: The names of all files that reports and exports write, for whoever cleans a folder.
OUTPUTS = (*WRITERS, *registry.FILES)


def write(report: Report, folder: Path) -> list[InputError]:
    """Writes all files into `folder`, each by rename; returns why some could not be, which stops no other."""
    errors = []
    for name, writer in WRITERS.items():
        try:
            write_atomically(folder / name, writer(report))
        except InputError as error:
            errors.append(error)
        except Exception as error:  # noqa: BLE001  # a fault of one format costs no other
            cause = f"{type(error).__name__}: {error}"
            errors.append(WriteError(f"{folder / name}: cannot be written: {cause}; please report this"))
    return errors
