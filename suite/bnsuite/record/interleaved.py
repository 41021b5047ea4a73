"""Two environments timed in lockstep, as it stands in ``interleaved.json``: block by block, in the order they ran."""

from __future__ import annotations

from math import comb, log
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator
from typing_extensions import Self

from bnsuite.record.files import read_text, write_atomically
from bnsuite.record.folder import TIMES, ResultsFolder
from bnsuite.record.migrations import Migration, without
from bnsuite.record.schema import UNDISTURBED_SHARE, Seconds, Value, Versioned
from bnsuite.record.store import parse

Share = Annotated[float, Field(ge=0)]

#: As rarely would a machine's disturbances fall so unevenly on the two sides.
ONE_SIDED = 0.001


class PairedLaunch(Value):
    """One case in one launch, a fresh process a side: what each block showed, in the order of the blocks.

    `a_s` and `b_s` are the median rounds of the blocks, in seconds a step; `a_first` tells which came first.
    Shares are processor time over wall time, a side's own; None on a GPU.
    """

    a_s: tuple[Seconds, ...] = Field(min_length=1)
    b_s: tuple[Seconds, ...]
    a_first: tuple[bool, ...]
    #: Which layout a pair belongs to: with each, both sides build the case anew elsewhere in memory.
    layouts: tuple[int, ...]
    a_shares: tuple[Share | None, ...]
    b_shares: tuple[Share | None, ...]
    iterations: Annotated[int, Field(ge=1)]
    rounds: Annotated[int, Field(ge=1)]
    #: Whether the launch was made to confirm what earlier ones showed.
    confirms: bool
    #: What makes all of it worthless, or None: the GPU was throttled, say.
    disturbed: str | None = None

    @model_validator(mode="after")
    def _of_one_length(self) -> Self:
        told = (self.a_s, self.b_s, self.a_first, self.layouts, self.a_shares, self.b_shares)
        if len(set(map(len, told))) > 1:
            raise ValueError("the blocks of the two sides are not paired")
        return self

    @property
    def value(self) -> float | None:
        """How much longer B took (log scale): the interquartile mean over pairs.

        Pairs of which a side had to share its core don't count. None where the launch, or half of it, was disturbed.
        """
        ratios = sorted(
            log(b / a)
            for a, b, disturbed in zip(self.a_s, self.b_s, self._disturbed_pairs(), strict=True)
            if not disturbed
        )
        if self.disturbed is not None or 2 * len(ratios) <= len(self.a_s):
            return None
        quarter = len(ratios) // 4
        return fmean(ratios[quarter : len(ratios) - quarter])

    def _disturbed_pairs(self) -> list[bool]:
        """Of each pair whether something else had the core.

        What disturbs a machine meets both sides alike. Where one of them lacks processor time much more often than the
        other, it waits by its own doing, and all pairs count.
        """
        a, b = (
            [share is not None and share < UNDISTURBED_SHARE for share in shares]
            for shares in (self.a_shares, self.b_shares)
        )
        more, all_ = max(sum(a), sum(b)), sum(a) + sum(b)
        if sum(comb(all_, count) for count in range(more, all_ + 1)) < ONE_SIDED * 2**all_:
            return [False] * len(a)
        return [one or other for one, other in zip(a, b, strict=True)]


class PairedCase(Value):
    """A case and its launches; a control's id begins with ``control/``."""

    id: str
    launches: tuple[PairedLaunch, ...] = ()

    def values(self, *, confirms: bool = False) -> list[float]:
        """The values of the launches that count, of the first ones or of those made to confirm."""
        return [one.value for one in self.launches if one.confirms is confirms and one.value is not None]


def _name_faults(times: dict[str, Any]) -> dict[str, Any]:
    """From 1 to 2: faults were called planted."""
    return {**without(times, "plant"), "schema": 2, "injected": times.get("plant", {})}


class InterleavedTimes(Versioned):
    """All times of a comparison.

    History of the schema: 1 was never in a release, and lay in ``lockstep.json``. 2, in 0.4.0, has ``injected`` for
    ``plant``.
    """

    SCHEMA: ClassVar[int] = 2
    MIGRATIONS: ClassVar[dict[int, Migration]] = {1: _name_faults}

    #: The environments as they were named.
    a: str
    b: str
    seed: int
    #: A case is undecided after so many launches of either kind.
    most_launches: Annotated[int, Field(ge=1)]
    #: Seconds given for all of it; None for no limit.
    budget_s: float | None
    #: What was set for the timed processes beyond what the runs name.
    variables: dict[str, str]
    #: The known fault that was injected into B, if one was (see ``measure/fault_injection.py``).
    injected: dict[str, float] = Field(default_factory=dict)
    cases: tuple[PairedCase, ...]


def save(times: InterleavedTimes, folder: Path) -> None:
    """Write it into `folder`, a line a case."""
    head = times.model_dump_json(by_alias=True, exclude={"cases"}).removesuffix("}")
    lines = ",\n".join(f"  {one.model_dump_json()}" for one in times.cases)
    write_atomically(folder / TIMES, f'{head},\n "cases": [\n{lines}\n ]\n}}\n')


def load(folder: Path) -> InterleavedTimes:
    """The lockstep in `folder`; InputError for one that can't be used."""
    path = ResultsFolder(folder).times
    return parse(InterleavedTimes, read_text(path, "lockstep"), path)
