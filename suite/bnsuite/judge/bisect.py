"""The search for the environment that brought a change: the state of one by its comparison, and the next one.

The first environment is good and the last one bad. As with git's bisect, one whose state can't be determined is
skipped, and those next to it are compared instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import ClassVar

from bnsuite.judge.verdict import WORST_FIRST, ExitStatus, Finding, Verdict
from bnsuite.record.package_index import PackageIndex
from bnsuite.record.schema import Value, Versioned

#: A case and the gate that judges it.
Which = tuple[str, str]

UNCHANGED = frozenset({Verdict.PASS, Verdict.IMPROVED})


class Assessment(Enum):
    """The result of comparing an environment with the good one."""

    GOOD = "good"
    BAD = "bad"
    SKIPPED = "skipped"


class BisectStep(Value):
    """One environment, compared with the good one."""

    #: The version of a release of torch; any other environment as it was named.
    release: str
    assessment: Assessment
    #: The findings that it follows from, the clearest first.
    findings: tuple[Finding, ...] = ()
    #: Why there are none, or what ended the comparison; None where the findings say it.
    problem: str | None = None
    #: The environment as `ab` takes it, such as ``torch==2.14.1`` or ``docker:trainer:2025-03``.
    environment: str | None = None
    #: The folder of the comparison, inside the folder of the search.
    folder: str | None = None


class BisectAnswer(Versioned):
    """The result of a search, as it stands in ``bisect.json``. History of the schema: 1, in 0.4.0, is the first."""

    SCHEMA: ClassVar[int] = 1

    #: The ends: the version of a release of torch, any other environment as it was named.
    good: str
    bad: str
    #: The gate whose regression was looked for; None for any gate's.
    gate: str | None
    #: In the order in which they were compared.
    steps: tuple[BisectStep, ...]
    #: The newest that is good, and the oldest that is bad; None where there is no change, or it is unknown.
    last_good: str | None
    first_bad: str | None
    #: Those between these two, which are still unknown.
    between: tuple[str, ...]
    #: What ended the search before its end, or None.
    ended: str | None = None
    status: ExitStatus
    #: The answer in words, as a report wrote it; nothing reads it.
    text: str = ""
    #: All environments of the search as `ab` takes them, the oldest first.
    environments: tuple[str, ...] = ()
    #: The package index of releases of torch, if one was named; None for that of pip's settings.
    index: PackageIndex | None = None


def label(environment: str) -> str:
    """Returns the short name of an environment: of a release of torch its version."""
    return environment.removeprefix("torch==")


@dataclass(frozen=True)
class Search:
    """A search in progress: between `good` and `bad`, two places in `environments`, something changed."""

    #: Oldest first, at least two.
    environments: tuple[str, ...]
    good: int
    bad: int
    skipped: frozenset[str] = frozenset()

    @staticmethod
    def over(environments: Collection[str]) -> Search:
        """Returns a search of which nothing is known but its two ends."""
        return Search(tuple(environments), 0, len(environments) - 1)

    @property
    def last_good(self) -> str:
        """The newest one that is known to be good."""
        return self.environments[self.good]

    @property
    def first_bad(self) -> str:
        """The oldest one that is known to be bad."""
        return self.environments[self.bad]

    @property
    def between(self) -> tuple[str, ...]:
        """Those whose state is not known."""
        return self.environments[self.good + 1 : self.bad]

    @property
    def next(self) -> str | None:
        """The environment to compare next: the one nearest to the middle that was not skipped, or None."""
        open_ = [place for place in range(self.good + 1, self.bad) if self.environments[place] not in self.skipped]
        if not open_:
            return None
        return self.environments[min(open_, key=lambda place: abs(2 * place - self.good - self.bad))]

    def after(self, environment: str, assessment: Assessment) -> Search:
        """The search once `environment`, which is one of those between, was looked at."""
        place = self.environments.index(environment)
        if assessment is Assessment.GOOD:
            return replace(self, good=place)
        if assessment is Assessment.BAD:
            return replace(self, bad=place)
        return replace(self, skipped=self.skipped | {environment})


def comparable(findings: Iterable[Finding], gate: str | None) -> frozenset[Which]:
    """Returns what `gate` judged (None: any gate) in the first comparison, without what was SKIPPED."""
    mine = [one for one in findings if gate in {None, one.gate}]
    kept = [one for one in mine if one.verdict is not Verdict.SKIPPED] or mine
    return frozenset((one.case, one.gate) for one in kept)


def assess(findings: Iterable[Finding], wanted: Mapping[Which, float | None]) -> tuple[Assessment, list[Finding]]:
    """Returns whether `findings` show a change in any of `wanted`, and those that it follows from, the clearest first.

    `wanted` has the size of the searched change, where that is known.
    """
    found = {(one.case, one.gate): one for one in findings if (one.case, one.gate) in wanted}
    regressed = [one for one in found.values() if one.verdict is Verdict.REGRESSED]
    if regressed:
        return Assessment.BAD, sorted(regressed, key=_size, reverse=True)
    open_ = [
        one for one in found.values() if one.verdict not in UNCHANGED or not _small(one, wanted[one.case, one.gate])
    ]
    if open_:
        return Assessment.SKIPPED, sorted(open_, key=lambda one: WORST_FIRST.index(one.verdict))
    if not found or len(found) < len(wanted):
        return Assessment.SKIPPED, []
    return Assessment.GOOD, sorted(found.values(), key=_size, reverse=True)


def _small(finding: Finding, change: float | None) -> bool:
    """Returns if a finding is nearer to no change than to the searched relative `change`, which it excludes.

    A PASS says less than 2 %, and a regression begins at 1 %.
    """
    if change is None or finding.change is None or finding.high is None:
        return True
    return finding.change < change / 2 and finding.high < change


def _size(finding: Finding) -> float:
    return finding.change or 0.0
