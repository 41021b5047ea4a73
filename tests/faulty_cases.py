"""Cases that misbehave, each in its own way, for ``BNSUITE_CASES``."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from bnsuite.cases import BehaviourCase, Case, CheckNotApplicableError, Observation, Step, Subject


def fine() -> None:
    sum(range(1000))


def raises() -> None:
    raise RuntimeError("CUDA error: an illegal memory access was encountered\nsecond line")


def hangs() -> None:
    time.sleep(600)


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def prints() -> None:
    os.write(1, b'{"event": "measured"}\n')


def spins() -> None:
    sum(range(int(os.environ.get("SPIN", "20000"))))


def nothing() -> None:
    raise CheckNotApplicableError("there is nothing of it here")


@dataclass(frozen=True, kw_only=True)
class Faulty(Case):
    """A step that does one thing."""

    step: Step

    family: ClassVar[str] = "faulty"
    nbytes: ClassVar[int] = 64  # type: ignore[assignment]

    @property
    def gates(self) -> tuple[str, ...]:
        return ("timing",)

    @property
    def id(self) -> str:
        return f"faulty/{self.step.__name__}"

    def build(self, device: str, seed: int = 0) -> Step:
        return self.step


def observing(do: Callable[[], None]) -> Callable[[Subject], Iterator[Observation]]:
    """Returns a check's function that does one thing and observes nothing."""

    def observe(subject: Subject) -> Iterator[Observation]:
        do()
        yield from ()

    return observe


CASES: tuple[Case, ...] = (
    *(
        BehaviourCase(group="broken", name=do.__name__, observe=observing(do), rule="none", limit_s=5.0, quick=True)
        for do in (dies, hangs, nothing)
    ),
    *(Faulty(step=step) for step in (fine, raises, hangs, dies, prints, spins)),
)
