"""The data sets of a command, each made once, and read by all measured processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from bnsuite.launch.process.messages import DatasetsAnswer
from bnsuite.launch.process.worker import Worker

#: The limit for making data sets; a download may be among it.
STAGE_S = 900.0


def ask_stage(names: Iterable[str], folder: Path, source: Path | None, worker: Worker) -> dict[str, str]:
    """Has `worker` make the data sets `names` into `folder`, images from `source`; returns why any are missing."""
    request = {"do": "stage", "datasets": list(names), "folder": str(folder), "source": absolute(source)}
    try:
        return worker.ask(request, DatasetsAnswer, STAGE_S, "the limit for making the data").missing
    finally:
        worker.end()


def absolute(folder: Path | None) -> str | None:
    """Returns a folder as a worker, which works elsewhere, finds it."""
    return str(folder.resolve()) if folder else None


class DataStage:
    """The folder of the data sets; `source` is where images are looked for, None for the usual places."""

    def __init__(self, folder: Path, source: Path | None) -> None:
        self.folder, self.source = folder, source
        self._asked: set[str] = set()
        self._missing: dict[str, str] = {}

    def make(self, names: Iterable[str], worker: Callable[[], Worker]) -> dict[str, str]:
        """Makes those of `names` that were not asked for before, by a new `worker`; returns why any are missing."""
        new = sorted(set(names) - self._asked)
        if new:
            self._missing |= ask_stage(new, self.folder, self.source, worker())
            self._asked |= set(new)
        return dict(self._missing)
