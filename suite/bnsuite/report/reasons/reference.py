"""Words for what a reference lacks."""

from __future__ import annotations

from collections.abc import Callable

from bnsuite.judge.reason import ReasonCode
from bnsuite.report.reasons.shared import Data
from bnsuite.report.text import listed


def _not_in_reference(data: Data) -> str:
    return f"not in {data['reference']}{'; `bnsuite accept` puts it there' if data['acceptable'] else ''}"


_ABSENCES: dict[str, Callable[[str, str], str]] = {
    "no-folder": lambda name, _: f"there is no {name} here; name it with --baselines",
    "no-timing": lambda name, _: f"{name}timing holds no baseline; make one with `bnsuite accept`",
    "no-timing-of-machine": lambda _, details: (
        f"no baseline for this machine (the nearest has {details}); make one with `bnsuite accept`"
    ),
    "other-machine": lambda name, details: f"{name} was measured on another machine: {details}",
    "other-device": lambda name, details: f"{name} was measured on another device: {details}",
    "disturbed": lambda name, _: f"{name} has it, but INVALID: all of its launches were disturbed",
    "skipped": lambda name, details: f"{name} has it, but SKIPPED: {details or 'no reason given'}",
    "failed": lambda name, details: f"{name} has it, but FAILED: {details or 'no reason given'}",
    "pending": lambda name, _: f"{name} has it, but ended before it was measured",
}


def _no_reference(data: Data) -> str:
    return _ABSENCES[data["cause"]](data["reference"], listed(data["details"], between="; "))


WORDS: dict[ReasonCode, Callable[[Data], str]] = {
    ReasonCode.NOT_IN_REFERENCE: _not_in_reference,
    ReasonCode.NO_REFERENCE: _no_reference,
    ReasonCode.OTHER_VERSION: lambda data: (
        f"the baseline is of version {data['baseline']} of this workload, the run of {data['run']}"
    ),
    ReasonCode.OTHER_CONTROLS: lambda _: "the baseline was measured beside other controls",
    ReasonCode.MISSING_CASE: lambda data: (
        f"in {data['reference']}, but not in this run; if the case is gone for good, remove it there"
    ),
}
