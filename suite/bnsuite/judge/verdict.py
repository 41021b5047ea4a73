"""Verdicts, findings and the exit status they make."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, IntEnum
from typing import Any, ClassVar

from pydantic import Field

from bnsuite.record.migrations import Migration
from bnsuite.record.renames import current_id
from bnsuite.record.schema import Value, Versioned


class Verdict(str, Enum):
    """What one gate says of one case; the worst come first."""

    REGRESSED = "REGRESSED"
    FAILED = "FAILED"
    MISSING = "MISSING"
    INVALID = "INVALID"
    INCONCLUSIVE = "INCONCLUSIVE"
    NO_BASELINE = "NO_BASELINE"
    SKIPPED = "SKIPPED"
    IMPROVED = "IMPROVED"
    PASS = "PASS"  # noqa: S105  # a verdict, not a password


#: Worst first, as they are declared.
WORST_FIRST = tuple(Verdict)

NOT_MEASURED = frozenset({Verdict.FAILED, Verdict.MISSING, Verdict.INVALID})
UNDECIDED = frozenset({Verdict.INCONCLUSIVE, Verdict.NO_BASELINE, Verdict.SKIPPED})


class Finding(Value):
    """One case seen by one gate.

    `change` is the estimated relative change against the reference (0.1: ten per cent more), `low` and `high`
    bound it.
    """

    case: str
    gate: str
    verdict: Verdict
    #: The evidence in one line.
    summary: str
    change: float | None = None
    low: float | None = None
    high: float | None = None
    evidence: dict[str, float | int | str | None] = Field(default_factory=dict)


class ExitStatus(IntEnum):
    """What the process says at its end; 1 wins over 3."""

    FINE = 0
    REGRESSED = 1
    UNUSABLE = 2
    NOT_MEASURED = 3


def worst(findings: Iterable[Finding]) -> Verdict:
    """The worst verdict of some findings, of which there is at least one."""
    return min((finding.verdict for finding in findings), key=WORST_FIRST.index)


def exit_status(findings: Iterable[Finding], *, finished: bool, strict: bool) -> ExitStatus:
    """The exit status of a judged run; a run that measured nothing is never fine."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.REGRESSED in verdicts:
        return ExitStatus.REGRESSED
    if not finished or not verdicts or verdicts & NOT_MEASURED:
        return ExitStatus.NOT_MEASURED
    if strict and verdicts & UNDECIDED:
        return ExitStatus.NOT_MEASURED
    return ExitStatus.FINE


def _rename_families(file: dict[str, Any]) -> dict[str, Any]:
    """From 1 to 2: families of checks and ratios were called otherwise."""
    findings = [{**one, "case": current_id(one["case"])} for one in file["findings"]]
    return {**file, "schema": 2, "findings": findings}


class Judgement(Versioned):
    """A run's findings, as they stand in ``findings.json``.

    History of the schema: 1 is the first. 2, in 0.4.0, renames families of checks and ratios.
    """

    SCHEMA: ClassVar[int] = 2
    MIGRATIONS: ClassVar[dict[int, Migration]] = {1: _rename_families}

    reference: str
    status: ExitStatus
    findings: tuple[Finding, ...]
