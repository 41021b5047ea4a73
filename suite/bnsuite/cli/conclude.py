"""The end of every verb that judges: find the reference, judge, print, write the verdicts down."""

from __future__ import annotations

import argparse
from pathlib import Path

from bnsuite.cli.options import FINDINGS, REPORT, baselines_folder
from bnsuite.judge.gates import judge
from bnsuite.judge.verdict import SCHEMA, Judgement, exit_status
from bnsuite.record import baselines
from bnsuite.record.errors import InputError
from bnsuite.record.files import write_atomically
from bnsuite.record.reference import Reference
from bnsuite.record.schema import Run
from bnsuite.report.table import markdown, terminal


def reference_for(run: Run, options: argparse.Namespace) -> Reference:
    """The baselines for `run`; only a folder that was named must be there."""
    folder = baselines_folder(options)
    if folder.is_dir():
        return baselines.load(folder, run)
    if options.baselines is not None:
        raise InputError(f"--baselines {folder}: there is no such folder; `bnsuite accept` makes one")
    return Reference(name=f"{folder}/", no_timing=f"there is no {folder}/ here; name it with --baselines")


def conclude(run: Run, reference: Reference, options: argparse.Namespace, folder: Path | None = None) -> int:
    """Judge, print, and write the verdicts into `folder` if there is one; returns the exit status."""
    findings = judge(run, reference)
    status = exit_status(findings, finished=run.finished, strict=options.strict)
    judgement = Judgement(schema=SCHEMA, reference=reference.name, status=status, findings=tuple(findings))
    text = judgement.model_dump_json(by_alias=True, indent=1)
    print(text if options.json else terminal(run, findings, status), flush=True)
    if folder is not None:
        write_atomically(folder / FINDINGS, text + "\n")
        write_atomically(folder / REPORT, markdown(run, findings, status))
    return status
