"""The end of every verb that judges: find the reference, judge, write the verdicts down, print."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from bnsuite.cli.options import baselines_folder
from bnsuite.cli.output import remark
from bnsuite.cli.results import print_verdicts, tell_unwritten
from bnsuite.judge.gates import judge
from bnsuite.judge.verdict import Finding, Judgement, exit_status
from bnsuite.record import baselines
from bnsuite.record.errors import InputError, one_line
from bnsuite.record.files import exists
from bnsuite.record.reference import Reference
from bnsuite.record.schema import Run
from bnsuite.report import findings_json, writers
from bnsuite.report.table import terminal


def require_baselines(options: argparse.Namespace) -> None:
    """Raise InputError for a baselines folder that was named and is not there."""
    folder = baselines_folder(options)
    for name, named in (
        ("--baselines", options.baselines),
        ("BNSUITE_BASELINES", os.environ.get("BNSUITE_BASELINES") or None),
    ):
        if named is not None:
            if exists(folder) and not folder.is_dir():
                raise InputError(f"{name} {folder}: is a file; name a folder")
            if not folder.is_dir():
                raise InputError(f"{name} {folder}: there is no such folder; `bnsuite accept` makes one")
            return


def reference_for(run: Run, options: argparse.Namespace) -> Reference:
    """The baselines for `run`; only a folder that was named must be there."""
    require_baselines(options)
    folder = baselines_folder(options)
    if folder.is_dir():
        return baselines.load(folder, run)
    return baselines.without_folder(folder)


def _claims(run: Run, folder: Path) -> tuple[str, ...]:
    """Returns the section on the articles' claims, if the run has trainings; trouble with it spoils no verdict."""
    if not any(result.curves for result in run.cases):
        return ()
    from bnsuite.articles import tables as claims
    from bnsuite.articles.claims import answers
    from bnsuite.articles.evidence import Evidence
    from bnsuite.record import details

    try:
        return (claims.markdown(answers(Evidence(run, details.load(folder)))),)
    except Exception as error:  # noqa: BLE001  # the verdicts are what a run is for
        remark(f"{folder / writers.REPORT}: without the claims: {one_line(error)}")
        return ()


def conclude(
    run: Run,
    reference: Reference,
    options: argparse.Namespace,
    folder: Path | None = None,
    findings: list[Finding] | None = None,
) -> int:
    """Judge, write the verdicts into `folder` if there is one, and print; returns the exit status.

    `findings` are those that were judged before. What can't be written is an InputError, once the verdicts are
    printed; a regression keeps its status all the same.
    """
    if findings is None:
        findings = judge(run, reference)
    status = exit_status(findings, finished=run.finished, strict=options.strict)
    judgement = Judgement(schema=Judgement.SCHEMA, reference=reference.name, status=status, findings=tuple(findings))
    unwritten = None
    if folder is not None:
        errors = writers.write(writers.RunReport(run, judgement, _claims(run, folder)), folder)
        unwritten = next(iter(errors), None)
    text = findings_json.text(judgement) if options.json else terminal(run, findings, status)
    tell_unwritten(print_verdicts(text, unwritten), status)
    return status
