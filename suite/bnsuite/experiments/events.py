"""Events that an experiment notifies its caller of; the caller words and shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bnsuite.launch.progress import Progress

if TYPE_CHECKING:
    from bnsuite.judge.bisect import BisectStep
    from bnsuite.judge.selftest import End
    from bnsuite.judge.verdict import Verdict
    from bnsuite.record.planned import Estimate


@dataclass(frozen=True)
class Remark:
    """Something that spoiled no measurement, or that takes minutes, in one line."""

    text: str


@dataclass(frozen=True)
class Planned:
    """The plan of a run that begins."""

    estimate: Estimate
    #: Seconds given for it; None for no limit.
    budget_s: float | None


@dataclass(frozen=True)
class BisectBegan:
    """A search over these environments begins: the oldest first, of which the first is trusted and the last bad."""

    environments: tuple[str, ...]


@dataclass(frozen=True)
class BisectCompared:
    """One more environment was compared with the good one."""

    step: BisectStep


@dataclass(frozen=True)
class TrialBegan:
    """A trial of the self-test begins: the `number`-th of `total`."""

    number: int
    total: int
    kind: str
    variant: str


@dataclass(frozen=True)
class TrialEnded:
    """A trial was recorded; `folder` is where its files are kept, if they are."""

    end: End
    verdicts: Counter[Verdict]
    folder: Path | None
    wall_s: float


@dataclass(frozen=True)
class TrialDropped:
    """A trial that the budget ended before it was decided, and that is not counted."""

    wall_s: float


Event = Progress | Remark | Planned | BisectBegan | BisectCompared | TrialBegan | TrialEnded | TrialDropped
Notify = Callable[[Event], None]
