"""Two environments compared: A is trusted, B is judged. Each is a session of its own; times are taken in lockstep."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from bnsuite.launch.environments import Environment
from bnsuite.launch.process import isolation
from bnsuite.launch.session import Progress, Session
from bnsuite.record.errors import InputError
from bnsuite.record.folder import SIDES
from bnsuite.record.schema import PlannedCase, Run, RunOptions

if TYPE_CHECKING:
    from typing_extensions import Self


class Tally:
    """One count of what the sides have done, each by itself and both in turns."""

    def __init__(self, listen: Callable[[Progress], None]) -> None:
        self._listen = listen
        self._done: dict[str, tuple[int, int]] = {}

    def of(self, side: str, where: str) -> Callable[[Progress], None]:
        """What hears the steps of `side`, and tells them with `where` they were taken."""

        def hear(step: Progress) -> None:
            self._done[side] = step.done, step.total
            done, total = (sum(numbers) for numbers in zip(*self._done.values(), strict=True))
            self._listen(Progress(f"{step.stage}{where}", step.label, done, total))

        return hear


class Sides:
    """A context manager: leaving it ends every process of both sides, and removes what they left."""

    def __init__(
        self,
        sites: tuple[Environment, Environment],
        asked: tuple[RunOptions, RunOptions],
        folder: Path,
        listen: Callable[[Progress], None],
        data: Path | None,
        *,
        injected: dict[str, float],
    ) -> None:
        self._sites, self._folder, self._injected = sites, folder, injected
        tally = Tally(listen)
        #: Hears what is done in turns.
        self.listen = tally.of("both", "")
        self.a, self.b = (
            Session(one, folder / side, tally.of(side, f" in {site.name}"), data, site)
            for one, side, site in zip(asked, SIDES, sites, strict=True)
        )
        self.b.stage = self.a.stage  # both see the same bytes
        self._open = ExitStack()
        #: What went wrong with both sides.
        self.warnings: list[str] = []

    def __enter__(self) -> Self:
        for site in self._sites:
            self._open.callback(site.close)
        for session in self.sessions:
            self._open.enter_context(session)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def sessions(self) -> tuple[Session, Session]:
        return self.a, self.b

    @property
    def all_warnings(self) -> list[str]:
        """What went wrong on either side, or with both, without spoiling a measurement."""
        return [*self.warnings, *self.a.warnings, *self.b.warnings]

    def prepare(self) -> tuple[Run, Run]:
        """Make sure of both environments and choose the cases; returns the two runs, still empty and not written.

        InputError if an environment can't be had, or if they can't be compared.
        """
        for site in self._sites:
            site.prepare()
        b = self.b.prepare(_comparable)  # an implementation has a part in some cases only
        ids = {result.id for result in b.cases}
        a = self.a.prepare(lambda case: case.id in ids)
        for session, side, injected in zip(self.sessions, SIDES, ({}, self._injected), strict=True):
            session.recorder.is_side(side, injected)
        if a.device != b.device:
            there = ", ".join(f"{site.name} has {run.device}" for site, run in zip(self._sites, (a, b), strict=True))
            raise InputError(f"the environments chose different devices ({there}); name one with --device")
        for site, run in zip(self._sites, (a, b), strict=True):
            if run.environment.gpu is not None and run.environment.gpu.nvml is None:
                self.warnings.append(
                    f"{site.name}: NVML can't be asked there: a GPU that is throttled, or used by others, goes unseen"
                )
        libcs = [run.environment.libc for run in (a, b)]
        if isolation.keep_heap(libcs[0]) != isolation.keep_heap(libcs[1]):
            self.warnings.append(
                f"{' and '.join(libcs)} keep their heaps differently: tensors above 32 MiB are timed with the page "
                "faults of the older one"
            )
        return a, b

    def begin(self) -> None:
        """Write both runs, still empty, into the folder."""
        for session in self.sessions:
            session.begin()

    def end(self, ended_by: str | None = None) -> None:
        """Record on both sides that all is measured, or what ended it."""
        for session in self.sessions:
            session.end(ended_by)


def _comparable(case: PlannedCase) -> bool:
    """Whether a case is compared: a relation compares two steps of one environment, and needs no second."""
    return not case.bounds
