"""Judged results: a run or a comparison with its verdicts, as everything that shows or exports them takes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bnsuite.judge import comparison, layers
from bnsuite.judge.verdict import Judgement, exit_status
from bnsuite.record import host, interleaved, pins, store
from bnsuite.record.errors import InputError
from bnsuite.record.files import exists, read_text
from bnsuite.record.folder import FINDINGS, SIDES, ResultsFolder
from bnsuite.record.host import HostReport
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.pictures import Picture
from bnsuite.record.reference import Reference
from bnsuite.record.schema import Run
from bnsuite.report.section import Section


@dataclass(frozen=True)
class RunReport:
    """A judged run."""

    run: Run
    judgement: Judgement
    #: Sections that others add to a report for people.
    sections: tuple[Section, ...] = ()
    #: The folder that holds it, as the user names it; None if it is not kept.
    folder: Path | None = None
    #: The host before the measuring, if it was looked at.
    host: HostReport | None = None
    #: The reference of the run, where it is at hand: its values are shown beside those of the run.
    reference: Reference | None = None
    #: Pictures that were drawn of the run.
    pictures: tuple[Picture, ...] = ()

    @property
    def judged(self) -> Run:
        """The run itself."""
        return self.run


@dataclass(frozen=True)
class ComparisonReport:
    """A judged comparison: `b` is judged by `a`."""

    a: Run
    b: Run
    times: InterleavedTimes
    judgement: Judgement
    #: The folder that holds it, as the user names it; None if it is not kept.
    folder: Path | None = None
    #: The host before the measuring, if it was looked at.
    host: HostReport | None = None

    @property
    def judged(self) -> Run:
        """The run that is judged: B's."""
        return self.b


Report = RunReport | ComparisonReport


def load(where: Path, baselines: Path) -> Report:
    """Returns the run or the comparison in a folder, with the verdicts that were given.

    A comparison that was killed before its verdicts is judged by what it left, with the pins in `baselines`. Raises
    InputError for a folder that holds neither, for a run without verdicts, and for a file that can't be used.
    """
    folder = ResultsFolder(store.folder_of(where))
    return _comparison(folder, baselines) if folder.is_comparison else _run(where, folder)


def _run(where: Path, folder: ResultsFolder) -> RunReport:
    run = store.load(where)
    verdicts = _verdicts(folder)
    if verdicts is None:
        path = folder.path / FINDINGS
        raise InputError(f"{path}: there are no verdicts yet; `bnsuite check {where}` prints them")
    return RunReport(run, verdicts, folder=folder.path, host=host.load(folder.path))


def _comparison(folder: ResultsFolder, baselines: Path) -> ComparisonReport:
    a, b = (store.load(folder.path / side) for side in SIDES)
    times = interleaved.load(folder.path)
    verdicts = _verdicts(folder)
    if verdicts is None:
        findings = comparison.judge(a, b, times, pins.read(baselines))
        status = exit_status(findings, finished=b.finished, strict=False)
        verdicts = Judgement(
            schema=Judgement.SCHEMA,
            reference=times.a,
            status=status,
            findings=tuple(findings),
            layers=layers.between(a, b),
        )
    return ComparisonReport(a, b, times, verdicts, folder.path, host.load(folder.path))


def _verdicts(folder: ResultsFolder) -> Judgement | None:
    path = folder.path / FINDINGS
    return store.parse(Judgement, read_text(path, "verdicts"), path) if exists(path) else None
