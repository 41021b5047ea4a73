"""The value every case is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from bnsuite.cases.execution import Execution

Step = Callable[[], None]

#: A case is in the full profile always, and in the quick one if it says so.
PROFILES = ("quick", "full")


@dataclass(frozen=True, kw_only=True)
class Case(ABC):
    """One thing measured, all its parameters fixed.

    A case is built outside the timed part: :meth:`build` allocates everything and returns a step that
    launches work and returns nothing.
    """

    #: A changed workload counts up: results of another version are another history and are never compared.
    version: int = 1
    quick: bool = True
    #: Whether only a GPU has it: what it looks at is a GPU's, or it is too large for a CPU.
    cuda_only: bool = False
    #: Whether a step takes about a second: a few rounds are enough then, and a brief warm-up.
    long: bool = False
    # What follows is of some kinds of case only. A kind that demands it declares it anew with field(), without which
    # the default here would be its own.

    #: The validation loss that counts as learnt, of a training.
    target: float | None = None
    #: What must hold, in a few words, of a check or a relation.
    rule: str | None = None
    #: The rows of ``docs/defects.md`` that it would catch.
    rows: tuple[str, ...] = ()
    #: The most its time may be, in times of its partner's, by kind of device; empty for what is no relation.
    bounds: Mapping[str, float] = field(default_factory=dict, hash=False)
    #: Seconds after which looking at it counts as hanging; None for what is no check.
    limit_s: float | None = None

    family: ClassVar[str]

    @property
    @abstractmethod
    def gates(self) -> tuple[str, ...]:
        """Which gates judge the case (see ``judge/gates.py``)."""

    @property
    @abstractmethod
    def id(self) -> str:
        """The readable name, such as ``op/batch_norm2d/fwd+bwd/f32/nchw/32x256x14x14``."""

    @property
    @abstractmethod
    def nbytes(self) -> int | None:
        """Bytes that one step must move at the least, or None where that says nothing."""

    @property
    def dataset(self) -> str | None:
        """The data set the case needs, by its name in ``cases/data/sets.py``."""
        return None

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages beyond torch without which the case can't be built."""
        return ()

    @property
    def pluggable(self) -> bool:
        """Whether a batch norm layer is in it, so that a user's implementation can stand in for torch's."""
        return False

    @property
    def execution(self) -> Execution:
        """The way its built step is executed, which the measuring side applies."""
        return Execution.EAGER

    @property
    def rounds(self) -> int | None:
        """How many rounds one launch times, or None to fill a time budget."""
        return None

    @abstractmethod
    def build(self, device: str, seed: int = 0) -> Step:
        """Allocate everything on `device` and return the step to be timed."""

    def examples(self, step: Step) -> int | None:  # noqa: ARG002  # a training knows it of what it has loaded
        """How many examples one built `step` goes through, or None where that says nothing."""
        return None

    def piece(self, step: Step) -> Step:
        """What is timed of a built `step` where two environments take turns: all of it, or one batch of an epoch."""
        return step

    def brief(self, step: Step) -> Step:
        """A short part of a built `step` that touches all it touches and holds as much memory."""
        return step

    @property
    def profiles(self) -> tuple[str, ...]:
        """The profiles that hold this case."""
        return PROFILES if self.quick else PROFILES[1:]
