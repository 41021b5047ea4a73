"""The times of two environments measured by turns, block by block in the order they ran, as in ``interleaved.json``."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator
from typing_extensions import Self

from bnsuite.record.files import read_text, write_atomically
from bnsuite.record.folder import SIDES, TIMES, ResultsFolder
from bnsuite.record.migrations import Migration, without
from bnsuite.record.quantities import Number, Seconds
from bnsuite.record.schema import Value, Versioned
from bnsuite.record.store import parse

#: CPU time over wall time; above 1 where several threads worked.
CoreShare = Annotated[float, Field(ge=0)]

#: Seconds a step, one value per round of a block.
Rounds = Annotated[tuple[Seconds, ...], Field(min_length=1)]


class PairedLaunch(Value):
    """One case in one launch (one fresh process per side): the rounds of each block, in the order of the blocks.

    A pair is a block of A and a block of B, next to one another; `a_first` says which of the two ran first. The shares
    are of CPU time over wall time, per block; None on a GPU.
    """

    a_rounds_s: tuple[Rounds, ...] = Field(min_length=1)
    b_rounds_s: tuple[Rounds, ...]
    a_first: tuple[bool, ...]
    #: The number of each pair's layout: for a new one both sides build the case again elsewhere in memory.
    layouts: tuple[int, ...]
    a_shares: tuple[CoreShare | None, ...]
    b_shares: tuple[CoreShare | None, ...]
    iterations: Annotated[int, Field(ge=1)]
    #: Rounds asked for per block.
    rounds: Annotated[int, Field(ge=1)]
    #: Whether the launch was made to confirm what earlier ones showed.
    confirms: bool
    #: Why no time of the launch counts (the GPU was throttled, say), or None.
    disturbed: str | None = None
    #: The median SM clock of the GPU during A's blocks and during B's, where it is known.
    sm_clocks_mhz: tuple[Number, Number] | None = None
    #: Why other processes may have been on the GPU unseen, on either side.
    blind: tuple[str, ...] = ()
    #: Seconds that the host took to launch a step, by block and round as the times are; empty on a CPU.
    a_host_rounds_s: tuple[Rounds, ...] = ()
    b_host_rounds_s: tuple[Rounds, ...] = ()
    #: CPU time of all threads over wall time, per block; empty where it is not known.
    a_cores_busy: tuple[CoreShare, ...] = ()
    b_cores_busy: tuple[CoreShare, ...] = ()
    #: Seconds that the case took in the launch, on both sides and with all that belongs to it; None if not recorded.
    took_s: Seconds | None = None

    @model_validator(mode="after")
    def _of_one_length(self) -> Self:
        columns = (self.a_rounds_s, self.b_rounds_s, self.a_first, self.layouts, self.a_shares, self.b_shares)
        hosts = {len(self.a_host_rounds_s), len(self.b_host_rounds_s)}
        busy = {len(self.a_cores_busy), len(self.b_cores_busy)}
        whole = {0, len(self.a_rounds_s)}
        if len(set(map(len, columns))) > 1 or hosts - whole or len(hosts) > 1 or busy - whole:
            raise ValueError("the blocks of the two sides are not paired")
        return self

    @cached_property
    def a_s(self) -> tuple[float, ...]:
        """A's blocks in seconds a step: the median round of each."""
        return tuple(map(median, self.a_rounds_s))

    @cached_property
    def b_s(self) -> tuple[float, ...]:
        """B's blocks in seconds a step: the median round of each."""
        return tuple(map(median, self.b_rounds_s))


class PairedCase(Value):
    """A case and its launches; a control's id begins with ``control/``."""

    id: str
    launches: tuple[PairedLaunch, ...] = ()


def _keep_rounds(times: dict[str, Any]) -> dict[str, Any]:
    """From 1 to 2: a block was its median, settings were those of both sides, and faults were called planted."""

    def with_rounds(launch: dict[str, Any]) -> dict[str, Any]:
        rounds = {f"{side}_rounds_s": [[block] for block in launch[f"{side}_s"]] for side in SIDES}
        return {**without(launch, "a_s", "b_s"), **rounds}

    settings = times["variables"]
    return {
        **without(times, "plant"),
        "schema": 2,
        "injected": times.get("plant", {}),
        "variables": dict.fromkeys(SIDES, settings) if settings else {},
        "cases": [{**one, "launches": [*map(with_rounds, one["launches"])]} for one in times["cases"]],
    }


class InterleavedTimes(Versioned):
    """All times of a comparison.

    History of the schema: 1 was never in a release, and lay in ``lockstep.json``. 2, in 0.4.0, keeps every round, has
    the settings of each side, and ``injected`` for ``plant``. 3, in 0.6.0, has what a GPU adds to a measurement.
    """

    SCHEMA: ClassVar[int] = 3
    MIGRATIONS: ClassVar[dict[int, Migration]] = {1: _keep_rounds, 2: lambda file: {**file, "schema": 3}}

    #: The environments as they were named.
    a: str
    b: str
    seed: int
    #: A case is undecided after so many launches of either kind.
    most_launches: Annotated[int, Field(ge=1)]
    #: Seconds given for all of it; None for no limit.
    budget_s: float | None
    #: Settings the timed processes had beyond those recorded with the runs, by side.
    variables: dict[str, dict[str, str]]
    #: The known fault injected into B, if any (see ``measure/fault_injection.py``).
    injected: dict[str, float] = Field(default_factory=dict)
    #: Seconds of each launch before its first case: the start of both processes, and the controls.
    starts_s: tuple[Seconds, ...] = ()
    cases: tuple[PairedCase, ...]


def save(times: InterleavedTimes, folder: Path) -> None:
    """Writes the times into `folder`, one line per case."""
    head = times.model_dump_json(by_alias=True, exclude={"cases"}).removesuffix("}")
    lines = ",\n".join(f"  {one.model_dump_json()}" for one in times.cases)
    write_atomically(folder / TIMES, f'{head},\n "cases": [\n{lines}\n ]\n}}\n')


def load(folder: Path) -> InterleavedTimes:
    """Returns the times in `folder`; InputError for a file that cannot be used."""
    path = ResultsFolder(folder).times
    return parse(InterleavedTimes, read_text(path, "comparison"), path)
