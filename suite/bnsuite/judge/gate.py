"""The gate: its name, the function that judges, and the cases that a reference has for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from bnsuite.judge.verdict import EvidenceValue, Finding
from bnsuite.record.reference import Reference
from bnsuite.record.schema import Run


class Accepted(Protocol):
    """One case in a reference, as one gate has it."""

    @property
    def id(self) -> str: ...
    @property
    def profiles(self) -> tuple[str, ...]: ...


Judge = Callable[[Run, Reference], list[Finding]]


def _nothing(_: Reference, __: Run) -> Iterable[Accepted]:
    return ()


@dataclass(frozen=True)
class Gate:
    """One gate. Tables, exit status, `bisect --gate` and the search for missing cases need nothing else of it.

    A gate with a number of its own shows it as ``Finding.change`` (see ``report/cells.py``), and stores it as a
    ``record.lines.Kind``.
    """

    name: str
    judge: Judge
    #: The cases that a reference has for this gate, and that a run on the same kind of device must have.
    accepted: Callable[[Reference, Run], Iterable[Accepted]] = _nothing
    #: Its cases are many and have no number of their own: tables show how many there are of a family.
    counted: bool = False
    #: Stands before the change in a table, as in "memory +3.0 %"; empty where the column says it.
    label: str = ""
    #: The key in a finding's evidence that names the number which changed, where that differs from case to case.
    label_key: str | None = None

    def label_of(self, evidence: dict[str, EvidenceValue]) -> str:
        """Returns the words that stand before a finding's change."""
        named = evidence.get(self.label_key) if self.label_key else None
        return named if isinstance(named, str) else self.label
