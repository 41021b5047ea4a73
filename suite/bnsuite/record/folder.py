"""The results folder: the names of everything in it, who writes into it, and which one is the latest."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path

from bnsuite.record.errors import InputError
from bnsuite.record.files import exists, make_folder

#: Where results go by themselves, and the link to the newest of them.
RESULTS = Path("results")
LATEST = RESULTS / "latest"

RUN = "run.json"
FINDINGS = "findings.json"
REPORT = "report.md"
REPORT_HTML = "report.html"
#: The state of the host before the measuring (see ``bnsuite doctor``).
HOST = "doctor.json"
#: Block times of a comparison, and the name that they had before 0.4.0.
TIMES, OLD_TIMES = "interleaved.json", "lockstep.json"
#: The runs of a comparison: A is trusted, B is judged.
SIDES = ("a", "b")
#: Per-seed details of trainings, one file per training.
TRAININGS = "trainings"
#: pytest-benchmark's own JSON, one file per launch.
PYTEST_BENCHMARK = "pytest-benchmark"
#: Output of measured processes, kept if something failed.
LOG = "log"
FIGURES = "figures"
#: The comparison that ``--confirm`` makes.
CONFIRM = "confirm"
#: The verdict on a node, and the folder of the runs that were made of all its GPUs at once.
NODE, TOGETHER = "node.json", "together"
BISECT = "bisect.json"
SELFTEST, SELFTEST_REPORT, TRIALS = "selftest.jsonl", "selftest.md", "trials"

#: Letters in the name of the folder of a step of a search: file systems take 255, and a digest has 64.
MAX_STEP_NAME = 150

_PICTURES = ("svg", "png", "gif")


def step_folders(environments: Iterable[str]) -> dict[str, str]:
    """Returns the name of the folder of each step of a search, by environment, each another one.

    That of ``torch==2.14.1`` is ``2.14.1``, that of ``docker:trainer:2025-03`` is ``docker-trainer-2025-03``.
    """
    folders: dict[str, str] = {}
    for environment in environments:
        name = _step_folder(environment)
        numbers = itertools.count(2)
        while name.casefold() in map(str.casefold, folders.values()):
            name = f"{_step_folder(environment)}-{next(numbers)}"
        folders[environment] = name
    return folders


def is_step_folder(name: str, environment: str) -> bool:
    """Returns True if `name` is one that a step of `environment` may have, and not a folder of the user's."""
    own = re.escape(_step_folder(environment))
    return re.fullmatch(rf"(?=\d|docker-|python-|this-interpreter){own}(-\d+)?", name) is not None


def _step_folder(environment: str) -> str:
    """Returns letters, digits and . _ + - of an environment's name; other signs are a hyphen each time they come."""
    if environment.startswith("torch=="):
        return _plain(environment.removeprefix("torch=="))
    return _plain(environment) if environment != "." else "this-interpreter"


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text)[:MAX_STEP_NAME]


class ResultsFolder:
    """One folder of results; `outputs` are the names of the files that reports write beside ``run.json``.

    Nothing is made or removed before :meth:`claimed` or :meth:`clean`.
    """

    def __init__(self, path: Path, outputs: Collection[str] = (), *, named_by_time: bool = False) -> None:
        self.path, self._outputs, self.named_by_time = path, tuple(outputs), named_by_time

    @classmethod
    def of_now(cls, outputs: Collection[str] = (), root: Path = RESULTS) -> ResultsFolder:
        """A folder below `root` that is named by the time in UTC."""
        return cls(root / datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ"), outputs, named_by_time=True)

    def within(self, name: str) -> ResultsFolder:
        """A folder of results inside this one."""
        return ResultsFolder(self.path / name, self._outputs)

    @property
    def times(self) -> Path:
        """The file of a comparison's times, under its old name where only that is there."""
        old = self.path / OLD_TIMES
        new = self.path / TIMES
        return old if exists(old) and not exists(new) else new

    @property
    def latest(self) -> Path:
        """The link to the newest folder beside this one if it is named by the time, else to the newest in RESULTS."""
        return self.path.parent / LATEST.name if self.named_by_time else LATEST

    @property
    def is_comparison(self) -> bool:
        """True if a comparison lies here."""
        return exists(self.times)

    @property
    def is_node(self) -> bool:
        """True if the verdict on a node lies here."""
        return exists(self.path / NODE)

    @contextlib.contextmanager
    def claimed(self) -> Iterator[ResultsFolder]:
        """Hold the folder, which is made if need be, for one command; yields it, perhaps under another name.

        A folder that is named by the time takes another name where two commands start in one second. One that was made
        here is removed if an exception leaves it empty. Raises InputError if it can't be written to, or is held by
        another command.
        """
        path, new = self._made()
        with contextlib.ExitStack() as stack:
            try:
                handle = os.open(path, os.O_RDONLY)
                stack.callback(os.close, handle)
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"{path}: another command is writing there; name another folder with --out") from None
            except OSError:  # a file system without locks
                pass
            try:
                yield ResultsFolder(path, self._outputs, named_by_time=self.named_by_time)
            except BaseException:
                if new:
                    with contextlib.suppress(OSError):  # what is in it stays
                        path.rmdir()
                raise

    def _made(self) -> tuple[Path, bool]:
        """Make sure of the folder; returns its path and whether it was made now."""
        path, new = self.path, self.named_by_time or not exists(self.path)
        if self.named_by_time:
            make_folder(path.parent)
            for number in itertools.count(2):
                try:
                    path.mkdir()
                except FileExistsError:
                    path = self.path.with_name(f"{self.path.name}-{number}")
                except OSError:  # make_folder below raises it with the fix
                    break
                else:
                    break
        make_folder(path)
        return path, new

    def clean(self) -> bool:
        """Remove what an earlier run or comparison left here; what bnsuite did not write stays.

        Of the verdict on a node the runs of each device alone stay: they are runs of their own. Returns False, and does
        nothing, where neither a run, nor a comparison, nor the verdict on a node lies.
        """
        with contextlib.suppress(OSError):
            compared, of_node = self.is_comparison, self.is_node
            if not compared and not of_node and not (self.path / RUN).exists():
                return False
            for old in self._left(compared=compared, of_node=of_node):
                if old.is_dir() and not old.is_symlink():
                    shutil.rmtree(old, ignore_errors=True)
                else:
                    old.unlink(missing_ok=True)
            for name in (TRAININGS, PYTEST_BENCHMARK, FIGURES, LOG):
                with contextlib.suppress(OSError):  # the user's own files may lie there too
                    (self.path / name).rmdir()
        return True

    def _left(self, *, compared: bool, of_node: bool) -> Iterator[Path]:
        for name in (RUN, TIMES, OLD_TIMES, FINDINGS, REPORT, HOST, *self._outputs):
            yield self.path / name
        yield from (self.path / PYTEST_BENCHMARK).glob("launch-*.json")
        yield from (self.path / TRAININGS).glob("*.jsonl")
        yield from (self.path / LOG).glob("*.txt")
        for kind in _PICTURES:
            yield from (self.path / FIGURES).glob(f"*.{kind}")
        if compared:  # elsewhere a run may be named as a side is
            yield from (self.path / side for side in SIDES)
        if of_node:
            yield from (self.path / NODE, self.path / TOGETHER)
        if self.within(CONFIRM).is_comparison:
            yield self.path / CONFIRM

    def require_no_other_sides(self) -> None:
        """Raise InputError if a run lies where a comparison would put one of its sides."""
        if self.is_comparison:
            return
        for side in SIDES:
            if exists(self.path / side / RUN):
                raise InputError(
                    f"{self.path / side}: holds a run that is no part of a comparison; choose another folder with --out"
                )

    def point_latest_here(self) -> None:
        """Make ``latest`` beside it lead here if the folder is named by the time; without links it does not exist."""
        if not self.named_by_time:
            return
        with contextlib.suppress(OSError):
            self.latest.unlink(missing_ok=True)
            self.latest.symlink_to(self.path.name)
