"""The files that are written of every judged run and comparison: one list, for who writes them and who removes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from bnsuite.judge.verdict import Judgement
from bnsuite.record.errors import InputError, one_line
from bnsuite.record.files import write_atomically
from bnsuite.record.folder import FINDINGS, REPORT
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.schema import Run
from bnsuite.report import comparison, table


def findings_json(judgement: Judgement) -> str:
    """The findings as JSON."""
    return judgement.model_dump_json(by_alias=True, indent=1)


#: Of a run and its verdicts, by file name.
RUN_WRITERS: dict[str, Callable[[Run, Judgement], str]] = {
    FINDINGS: lambda _, judgement: findings_json(judgement) + "\n",
    REPORT: lambda run, judgement: table.markdown(run, list(judgement.findings), judgement.status),
}
#: Of both sides of a comparison, its times and its verdicts, by file name.
COMPARISON_WRITERS: dict[str, Callable[[Run, Run, InterleavedTimes, Judgement], str]] = {
    FINDINGS: lambda _a, _b, _times, judgement: findings_json(judgement) + "\n",
    REPORT: lambda a, b, times, judgement: comparison.markdown(a, b, times, list(judgement.findings), judgement.status),
}
#: Every file that a report may write.
OUTPUTS = tuple(dict.fromkeys([*RUN_WRITERS, *COMPARISON_WRITERS]))


def write_run(run: Run, judgement: Judgement, folder: Path) -> InputError | None:
    """Write all files of a run into `folder`; returns the first error, after the others were tried."""
    return _write({name: partial(make, run, judgement) for name, make in RUN_WRITERS.items()}, folder)


def write_comparison(a: Run, b: Run, times: InterleavedTimes, judgement: Judgement, folder: Path) -> InputError | None:
    """Write all files of a comparison into `folder`; returns the first error, after the others were tried."""
    return _write({name: partial(make, a, b, times, judgement) for name, make in COMPARISON_WRITERS.items()}, folder)


def _write(files: Mapping[str, Callable[[], str]], folder: Path) -> InputError | None:
    first: InputError | None = None
    for name, make in files.items():
        try:
            write_atomically(folder / name, make())
        except InputError as error:
            first = first or error
        except Exception as error:  # noqa: BLE001  # a format that fails must not take the others with it
            first = first or InputError(f"{folder / name}: cannot be made: {one_line(error)}; the verdicts stand")
    return first
