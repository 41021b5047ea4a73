"""Two environments timed in lockstep, as it stands in ``lockstep.json``: block by block, in the order they ran."""

from __future__ import annotations

from math import log
from pathlib import Path
from statistics import fmean
from typing import Annotated, ClassVar

from pydantic import Field, model_validator
from typing_extensions import Self

from bnsuite.record.files import read_text, write_atomically
from bnsuite.record.schema import UNDISTURBED_SHARE, Seconds, Value, Versioned
from bnsuite.record.store import parse

LOCKSTEP_FILE = "lockstep.json"

#: The folders of the two runs: A is trusted, B is judged.
SIDES = ("a", "b")


class Pairs(Value):
    """One case in one launch, a fresh process a side: what each block showed, in the order of the blocks.

    `a_s` and `b_s` are the median rounds of the blocks, in seconds a step; `a_first` tells which came first.
    Shares are processor time over wall time, the smaller of the two sides; None on a GPU.
    """

    a_s: tuple[Seconds, ...] = Field(min_length=1)
    b_s: tuple[Seconds, ...]
    a_first: tuple[bool, ...]
    #: Which layout a pair belongs to: with each, both sides build the case anew elsewhere in memory.
    layouts: tuple[int, ...]
    cpu_shares: tuple[Annotated[float, Field(ge=0)] | None, ...]
    iterations: Annotated[int, Field(ge=1)]
    rounds: Annotated[int, Field(ge=1)]
    #: Whether the launch was made to confirm what earlier ones showed.
    confirms: bool
    #: What makes all of it worthless, or None: the GPU was throttled, say.
    disturbed: str | None = None

    @model_validator(mode="after")
    def _of_one_length(self) -> Self:
        if len({len(self.a_s), len(self.b_s), len(self.a_first), len(self.layouts), len(self.cpu_shares)}) > 1:
            raise ValueError("the blocks of the two sides are not paired")
        return self

    @property
    def value(self) -> float | None:
        """How much longer B took (log scale): the interquartile mean over pairs.

        Pairs of which a side had to share its core don't count. None where the launch, or most of it, was disturbed.
        """
        ratios = sorted(
            log(b / a)
            for a, b, share in zip(self.a_s, self.b_s, self.cpu_shares, strict=True)
            if share is None or share >= UNDISTURBED_SHARE
        )
        if self.disturbed is not None or 2 * len(ratios) <= len(self.a_s):
            return None
        quarter = len(ratios) // 4
        return fmean(ratios[quarter : len(ratios) - quarter])


class Compared(Value):
    """A case and its launches; a control's id begins with ``control/``."""

    id: str
    launches: tuple[Pairs, ...] = ()

    def values(self, *, confirms: bool = False) -> list[float]:
        """The values of the launches that count, of the first ones or of those made to confirm."""
        return [one.value for one in self.launches if one.confirms is confirms and one.value is not None]


class Lockstep(Versioned):
    """All of a lockstep's times. History of the schema: 1, in 0.4.0, is the first."""

    SCHEMA: ClassVar[int] = 1

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
    #: The known fault that was planted into B's steps, if one was (see ``measure/plant.py``).
    plant: dict[str, float] = Field(default_factory=dict)
    cases: tuple[Compared, ...]


def save(lockstep: Lockstep, folder: Path) -> None:
    """Write it into `folder`, a line a case."""
    head = lockstep.model_dump_json(by_alias=True, exclude={"cases"}).removesuffix("}")
    lines = ",\n".join(f"  {one.model_dump_json()}" for one in lockstep.cases)
    write_atomically(folder / LOCKSTEP_FILE, f'{head},\n "cases": [\n{lines}\n ]\n}}\n')


def load(folder: Path) -> Lockstep:
    """The lockstep in `folder`; InputError for one that can't be used."""
    path = folder / LOCKSTEP_FILE
    return parse(Lockstep, read_text(path, "lockstep"), path)
