"""The base of every check: a case that is run once, and not timed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bnsuite.cases import implementation
from bnsuite.cases.case import Case, Step
from bnsuite.cases.checks.labels import labels
from bnsuite.cases.defects import threads

if TYPE_CHECKING:
    import torch
    from torch import nn


#: The value of a number that is not finite, or larger; JSON has none.
BOUNDLESS = 1e30


@dataclass(frozen=True)
class Observation:
    """One result of a check, and the criterion for it.

    A number passes up to `limit`; a word passes if it is `expected`. With neither, it is compared with the accepted
    one in the baseline. A number that is not finite becomes BOUNDLESS, so that it fails wherever a limit is.
    """

    what: str
    value: float | str
    limit: float | None = None
    expected: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.value, str) and not abs(self.value) <= BOUNDLESS:
            object.__setattr__(self, "value", BOUNDLESS)


class CheckNotApplicableError(Exception):
    """The check can't be applied here; the message says what is missing."""


@dataclass(frozen=True)
class Subject:
    """The subject of a check: batch norm layers on a device."""

    #: "cpu" or "cuda:N".
    device: str

    def batch_norm(self, dimensions: int, channels: int, **arguments: Any) -> nn.Module:
        """Returns a layer for inputs of `dimensions` beyond (N, C), on the device: the implementation's, or torch's."""
        return implementation.batch_norm(dimensions, channels, **arguments).to(self.device)

    def randn(
        self, *shape: int, seed: int = 0, mean: float = 0.5, std: float = 2.0, dtype: str = "float32"
    ) -> torch.Tensor:
        """Returns normal numbers, the same on every device.

        By default they are neither centred nor of unit variance, where some faults cancel.
        """
        import torch

        made = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * std + mean
        return made.to(self.device, getattr(torch, dtype))


Observe = Callable[[Subject], Iterable[Observation]]


@dataclass(frozen=True, kw_only=True)
class CheckCase(Case):
    """A property that must hold of the layer on every machine.

    `observe` is called once, in a process that may crash or hang without harm to others, and yields observations.
    """

    #: The family of checks, as in ``docs/defects.md``: strides, reference, ...
    group: str
    #: The rest of the id; its words become labels (see :mod:`bnsuite.cases.checks.labels`).
    name: str
    observe: Observe
    #: The property that must hold, in a few words.
    rule: str
    #: Ids of the defects that it would show (see ``docs/defects.md``).
    rows: tuple[str, ...] = ()
    #: It checks a part of torch (operators, converters, other norms) that an implementation doesn't replace.
    torch_only: bool = False
    #: The role of the function that it judges (see ``cases/functions.py``), which a user may replace; "" for none.
    function: str = ""
    #: Seconds after which it counts as hanging.
    limit_s: float = 60.0
    #: It may end the process that it runs in, so that it has one of its own, and so many seconds there; how that ended
    #: is then an observation, "outcome". None for a check that runs in the worker.
    child_s: float | None = None
    needs: tuple[str, ...] = ()
    quick: bool = False
    #: Patterns of the names of observations whose limits were found on CPUs, and say little of a GPU's kernels: there
    #: they judge once `bnsuite calibrate` has measured them. A limit that follows from arithmetic, from a promise or
    #: from the same device's own two-pass computation holds everywhere, and is not among them.
    from_cpu: tuple[str, ...] = ()

    kind: ClassVar[str] = "check"

    @property
    def gates(self) -> tuple[str, ...]:
        return (self.family,)

    @property
    def id(self) -> str:
        return f"{self.family}/{self.group}/{self.name}"

    @property
    def labels(self) -> dict[str, str]:
        return {"gate": self.family, "family": self.group, **labels(self.name)}

    @property
    def nbytes(self) -> None:
        return None

    @property
    def pluggable(self) -> bool:
        return not self.torch_only

    @property
    def role(self) -> str:
        return self.function

    @property
    def packages(self) -> tuple[str, ...]:
        return self.needs

    @property
    def to_calibrate(self) -> tuple[str, ...]:
        return self.from_cpu

    def build(self, device: str, seed: int = 0) -> Step:  # noqa: ARG002  # every check fixes its own seeds
        def step() -> None:
            for _ in self.observe(Subject(device)):
                pass

        return step

    def describe(self, images: Path | None = None) -> dict[str, Any]:
        return {
            **super().describe(images),
            "rule": self.rule,
            "threads": threads(self.rows),
            "limit_s": self.limit_s,
        }


@dataclass(frozen=True, kw_only=True)
class NumericsCase(CheckCase):
    """Outputs, gradients and statistics against float64 or a closed form."""

    family: ClassVar[str] = "numerics"


@dataclass(frozen=True, kw_only=True)
class BehaviourCase(CheckCase):
    """State, memory, and the rest of torch around the layer."""

    family: ClassVar[str] = "behaviour"
