"""Verdicts, findings and the exit status they make."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, IntEnum
from typing import Any, ClassVar

from pydantic import Field, model_validator

from bnsuite.judge.reason import Reason, ReasonCode
from bnsuite.record.migrations import Migration, without
from bnsuite.record.renames import current_id
from bnsuite.record.schema import Value, Versioned


class Verdict(str, Enum):
    """The verdict of one gate on one case; the worst come first."""

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
DECIDED_WELL = frozenset({Verdict.PASS, Verdict.IMPROVED})

#: A slowdown that was flagged and neither confirmed nor refuted ends with status 3 if even its lower bound is above
#: this: ten times the floor of a comparison, and the floor of a stored baseline. Smaller ones may well be chance.
UNCONFIRMED_SLOWDOWN = 0.10

EvidenceValue = float | int | str | None


class Finding(Value):
    """One case judged by one gate.

    `change` is the estimated relative change against the reference (0.1: ten per cent more), `low` and `high`
    bound it.
    """

    case: str
    gate: str
    verdict: Verdict
    reason: Reason
    change: float | None = None
    low: float | None = None
    high: float | None = None
    evidence: dict[str, EvidenceValue] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _without_summary(cls, fields: Any) -> Any:
        """Drops the worded reason, which is in files for readers alone."""
        return without(fields, "summary") if isinstance(fields, dict) else fields

    @property
    def unconfirmed(self) -> bool:
        """A slowdown was flagged, and neither confirmed nor refuted when measuring ended."""
        return self.verdict is Verdict.INCONCLUSIVE and bool(self.evidence.get("unconfirmed"))


class LayerChange(Value):
    """A layer of the environment that differs from the reference's, such as torch: its value there, and now."""

    layer: str
    before: str
    now: str


class ExitStatus(IntEnum):
    """The exit status of a command that judges; 1 wins over 3."""

    FINE = 0
    REGRESSED = 1
    UNUSABLE = 2
    NOT_MEASURED = 3


def worst(findings: Iterable[Finding]) -> Verdict:
    """Returns the worst verdict of at least one finding."""
    return min((finding.verdict for finding in findings), key=WORST_FIRST.index)


def exit_status(findings: Iterable[Finding], *, finished: bool, strict: bool) -> ExitStatus:
    """Returns the exit status of a judged run; a run that measured nothing is never fine."""
    findings = list(findings)
    verdicts = {finding.verdict for finding in findings}
    if Verdict.REGRESSED in verdicts:
        return ExitStatus.REGRESSED
    if not finished or not verdicts or verdicts & NOT_MEASURED:
        return ExitStatus.NOT_MEASURED
    if any(one.unconfirmed and (one.low or 0.0) > UNCONFIRMED_SLOWDOWN for one in findings):
        return ExitStatus.NOT_MEASURED
    if strict and verdicts & UNDECIDED:
        return ExitStatus.NOT_MEASURED
    return ExitStatus.FINE


def _reason_as_data(file: dict[str, Any]) -> dict[str, Any]:
    """From 1 to 2: a finding's reason was a sentence, and families of checks and ratios had other names."""
    findings = [
        {
            **without(one, "summary"),
            "case": current_id(one["case"]),
            "reason": {"code": ReasonCode.TEXT.value, "data": {"text": one["summary"]}},
        }
        for one in file["findings"]
    ]
    return {**file, "schema": 2, "findings": findings}


class Judgement(Versioned):
    """A run's findings, as they stand in ``findings.json``.

    History of the schema: 1 is the first. 2, in 0.4.0, has reasons as data and other ids of checks and ratios; beside
    each reason stands its `summary` in words, which is not read.
    """

    SCHEMA: ClassVar[int] = 2
    MIGRATIONS: ClassVar[dict[int, Migration]] = {1: _reason_as_data}

    reference: str
    status: ExitStatus
    findings: tuple[Finding, ...]
    #: The layers that are known to differ from the reference's: where there are several, no single cause can be named.
    layers: tuple[LayerChange, ...] = ()
