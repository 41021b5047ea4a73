"""The room for ranks: each needs a core of its own, and on GPUs a GPU as well. What lacks it is left out of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bnsuite.record.schema import EnvironmentInfo, PlannedCase


@dataclass(frozen=True)
class Room:
    """The most ranks that a case may have; None where there is no limit."""

    by_cores: int | None
    by_gpus: int | None

    @classmethod
    def of(cls, info: EnvironmentInfo, given: int, timed: int, *, shared: bool) -> Room:
        """Returns the room on `given` cores, `timed` of which are rank 0's, in the environment of `info`.

        Rank 0 has one core at least, and no other rank has any of its own (``cases/distributed/ranks.py`` deals them
        out). If cores are `shared`, they set no limit; GPUs are never shared, since NCCL refuses that.
        """
        cores = None if shared else given - max(1, timed) + 1
        return cls(cores, info.gpu.count if info.gpu is not None else None)

    def has(self, case: PlannedCase) -> bool:
        """Returns True if there is room for all ranks of a case."""
        return case.ranks == 1 or not (self._lacks_gpus(case) or self._lacks_cores(case))

    def why_none(self, planned: int, cases: Sequence[PlannedCase]) -> str:
        """Returns why none of `planned` cases can be measured: there is no room for `cases`, and no GPU for the others.

        With the way to have them measured, in one line.
        """
        one = planned == 1
        head = f"the {planned} case{'' if one else 's'} chosen need{'s' if one else ''}"
        them = "it" if one else "them"
        needs, fixes = [], []
        if len(cases) < planned:
            needs.append("a GPU")
            fixes.append("--device cuda")
        if gpus := [case.ranks for case in cases if self._lacks_gpus(case)]:
            needs.append(f"{_least(gpus)} GPUs, one per rank, and there {_are(self.by_gpus)}")
        if cores := [case.ranks for case in cases if not self._lacks_gpus(case)]:
            needs.append(f"{_least(cores)} cores, one per rank, and there {_are(self.by_cores)} for ranks")
            fixes.append("`bnsuite run --oversubscribe`, by which ranks share cores,")
        fix = f"{' or '.join(fixes)} measures {them}" if fixes else "choose cases of fewer ranks"
        return f"{head} {' or '.join(needs)}; {fix}"

    def _lacks_gpus(self, case: PlannedCase) -> bool:
        return self.by_gpus is not None and case.ranks > self.by_gpus

    def _lacks_cores(self, case: PlannedCase) -> bool:
        return self.by_cores is not None and case.ranks > self.by_cores


def _least(ranks: Sequence[int]) -> str:
    return str(min(ranks)) if len(set(ranks)) == 1 else f"{min(ranks)} or more"


def _are(number: int | None) -> str:
    return f"is {number}" if number == 1 else f"are {number}"
