"""Progress: a bar with the time left on a terminal, a plain line per stage elsewhere."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager, nullcontext
from time import monotonic
from typing import TYPE_CHECKING, Protocol, TextIO

from bnsuite.report import text, units

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


class Step(Protocol):
    """The progress after a measurement."""

    @property
    def stage(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...


class Lines:
    """For a log: one line when a stage begins."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._stage, self._began = stream, "", monotonic()

    def __call__(self, step: Step) -> None:
        if step.stage == self._stage:
            return
        self._stage = step.stage
        passed = units.duration(monotonic() - self._began)
        self._print(f"{text.one_line(step.stage)} ({step.done - 1} of {step.total} done, {passed})")

    def _print(self, line: str) -> None:
        with contextlib.suppress(OSError):  # the reader has left; the run goes on
            print(line, file=self._stream, flush=True)


class LiveBar:
    """For a terminal: a bar, the last measurement, and the time left."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task: TaskID = bar.add_task("starting: importing torch, choosing cases", total=None)

    def __call__(self, step: Step) -> None:
        self._bar.update(
            self._task,
            description=text.one_line(f"{step.stage}: {step.label}"),
            completed=step.done,
            total=step.total,
            refresh=True,
        )


def listener(stream: TextIO) -> tuple[AbstractContextManager[object], Lines | LiveBar]:
    """Returns a context, and the listener that writes to `stream` within it."""
    if not stream.isatty():
        return nullcontext(), Lines(stream)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}", markup=False),
        console=Console(file=stream),
        redirect_stdout=False,  # results go where they are sent, whatever stderr is
        transient=True,
        auto_refresh=False,  # a thread that redraws would work beside the measured process
    )
    return bar, LiveBar(bar)
