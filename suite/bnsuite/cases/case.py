"""The base of every case."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from bnsuite.cases.execution import Execution, TimedBy

Step = Callable[[], None]

#: The full profile holds every case, the quick one those that say so.
PROFILES = ("quick", "full")


@cache
def _installed(package: str) -> bool:
    return find_spec(package) is not None


@dataclass(frozen=True, kw_only=True)
class Case(ABC):
    """One thing measured, all its parameters fixed.

    A case is built outside the timed part: :meth:`build` allocates everything and returns a step that
    launches work and returns nothing.
    """

    #: A changed workload counts up: results of another version are another history and are never compared.
    version: int = 1
    quick: bool = True
    #: Only a GPU can run it: it measures something that only a GPU has, or it is too large for a CPU.
    gpu_only: bool = False
    #: A step takes about a second: a few rounds are enough then, and a short warm-up.
    long: bool = False

    #: Processes that run the step together, each on a core, or GPU, of its own; the timed one waits for the others.
    ranks: int = 1
    #: Processes that the timed one starts on its own cores and waits for, such as those that load its data.
    workers: int = 0

    #: The first part of the id.
    family: ClassVar[str]
    #: "layer", "ratio", "check", "training", or "workload" for any other timed step.
    kind: ClassVar[str] = "workload"

    @property
    @abstractmethod
    def gates(self) -> tuple[str, ...]:
        """The gates that judge the case (see ``judge/gates.py``)."""

    @property
    @abstractmethod
    def id(self) -> str:
        """The readable name, such as ``op/batch_norm2d/fwd+bwd/f32/nchw/32x256x14x14``."""

    @property
    @abstractmethod
    def nbytes(self) -> int | None:
        """Bytes that one step must move at least, or None where that says nothing."""

    @property
    def labels(self) -> dict[str, str]:
        """Everything that the id says, by name, so that nobody has to parse the id."""
        return {}

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
        """True if it contains a batch norm layer that a user's implementation can replace."""
        return False

    @property
    def role(self) -> str:
        """The role of a function that it judges, in whose place a user's may stand; "" for none."""
        return ""

    @property
    def to_calibrate(self) -> tuple[str, ...]:
        """What a GPU is judged by only once it is calibrated: patterns of names of observations, or "ratio"."""
        return ()

    @property
    def processes(self) -> int:
        """The processes that do a step together; the thread of one that is not alone waits for the others."""
        return self.ranks + self.workers

    @property
    def execution(self) -> Execution:
        """The way its built step is executed, which the measuring side applies."""
        return Execution.EAGER

    @property
    def timed_by(self) -> TimedBy:
        """The time that is judged on a GPU: the device's own for a short step, by default the elapsed one."""
        return TimedBy.ELAPSED

    @property
    def rounds(self) -> int | None:
        """Rounds timed in one launch, or None to fill a time budget."""
        return None

    @abstractmethod
    def build(self, device: str, seed: int = 0) -> Step:
        """Allocate everything on `device` and return the step to be timed."""

    def controls(self, step: Step) -> Mapping[str, Step]:  # noqa: ARG002  # most need none of their own
        """Fixed operations that are timed around a built `step` beside those that every case has, by name."""
        return {}

    def examples(self, step: Step) -> int | None:  # noqa: ARG002  # a training counts the data it has loaded
        """Examples that one built `step` goes through, or None where that says nothing."""
        return None

    def timed_unit(self, step: Step) -> Step:
        """The part of a built `step` that is timed in a comparison: all of it, or one batch of an epoch."""
        return step

    def smoke_step(self, step: Step) -> Step:
        """A short part of a built `step` that touches everything it touches and holds as much memory."""
        return step

    def renew(self, step: Step, block: int) -> None:  # noqa: B027  # built-in cases have fixed inputs
        """Give a built `step` the inputs of a block of rounds, the same ones on both sides of a comparison."""

    def verify(self, step: Step) -> None:  # noqa: B027  # built-in cases are checked by cases of their own
        """Raise an exception if a `step` that was timed did not do the work that it stands for."""

    @property
    def profiles(self) -> tuple[str, ...]:
        """The profiles that hold this case."""
        return PROFILES if self.quick else PROFILES[1:]

    @property
    def steps(self) -> dict[str, int]:
        """Steps of a training of known size: of one "epoch", one seed ("convergence") and one launch ("timing")."""
        return {}

    def describe(self, images: Path | None = None) -> dict[str, Any]:
        """The case as JSON for the half that plans and judges; `images` is the folder of downloaded data sets."""
        from bnsuite.cases.data import to_download

        return {
            "id": self.id,
            "kind": self.kind,
            "labels": self.labels,
            "family": self.family,
            "version": self.version,
            "gates": list(self.gates),
            "profiles": list(self.profiles),
            "nbytes": self.nbytes,
            "dataset": self.dataset,
            "gpu_only": self.gpu_only,
            "timed_by": self.timed_by.value,
            "lacks": [package for package in self.packages if not _installed(package)],
            "to_download": to_download(self.dataset, images),
            "target": None,
            "rule": None,
            "threads": [],
            "bounds": {},
            "limit_s": None,
            "to_calibrate": list(self.to_calibrate),
            "ranks": self.ranks,
            "steps": self.steps,
        }
