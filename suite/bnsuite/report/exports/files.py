"""Exports as files: each written by rename, or appended where a CI service says so."""

from __future__ import annotations

from pathlib import Path

from bnsuite.record.errors import InputError, WriteError
from bnsuite.record.files import append_text, exists, write_atomically
from bnsuite.report.exports.registry import Export
from bnsuite.report.judged import Report

#: A summary shorter than this says nothing.
LEAST_BYTES = 2000


def rendered(export: Export, report: Report, *, strict: bool) -> str:
    """Returns the text of an export; a fault of one format is an InputError, which costs no other."""
    render = export.strict if strict and export.strict is not None else export.render
    try:
        return render(report)
    except InputError:
        raise
    except Exception as error:
        raise WriteError(f"--{export.name}: {type(error).__name__}: {error}; please report this") from error


def write(export: Export, report: Report, folder: Path, *, strict: bool, shared: Path | None = None) -> Path:
    """Writes an export into `folder`, or appends it to `shared` if it is made for that and fits; returns the path.

    Raises InputError, in one line, for what cannot be written.
    """
    assert export.file is not None
    if shared is not None and export.within is not None:
        room = export.most_bytes - (shared.stat().st_size if exists(shared) else 0)
        if room >= LEAST_BYTES:
            append_text(shared, export.within(report, room - 1))
            return shared
    path = folder / export.file
    write_atomically(path, rendered(export, report, strict=strict))
    return path
