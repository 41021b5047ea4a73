"""A release of torch as an environment: a virtual environment made once from the package index, then kept."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from packaging.version import Version

from bnsuite.launch.environments import pip
from bnsuite.launch.environments.bundle import inner_half
from bnsuite.launch.environments.environment import MIN_TORCH, EnvironmentUnavailableError, Notify
from bnsuite.launch.environments.interpreter import Interpreter
from bnsuite.launch.process.isolation import current_folder
from bnsuite.launch.process.options import WorkerOptions
from bnsuite.record.package_index import PackageIndex, text_without_secrets
from bnsuite.record.schema import EnvironmentInfo

#: A release as pip takes it after ``torch==``.
VERSION = re.compile(r"(\d+)\.(\d+)(\.\d+)?((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+[a-z0-9.]+)?")

#: The log of pip in an environment that is being made.
LOG = "pip.log"

#: Messages of pip, each with its meaning.
CAUSES = (
    (
        r"No space left on device",
        "no space is left in {cache} or in TMPDIR; free some, or set XDG_CACHE_HOME and TMPDIR",
    ),
    (r"Disk quota exceeded", "the quota of {cache} or of TMPDIR is used up; set XDG_CACHE_HOME and TMPDIR"),
    pip.REFUSED,
    pip.UNTRUSTED,
    pip.UNREACHABLE,
    (
        r"requirement torch==\S+ \(from versions: none\)",
        "{index} has no torch for {python}; name another interpreter with python:PATH",
    ),
    (
        r"requirement torch==\S+ \(from versions: (?P<versions>[^)]+)\)",
        "{index} has no such release for {python}, it has {versions}; choose one of these",
    ),
    (r"ensurepip is not", "{executable} can't make virtual environments; apt install python3-venv"),
)


def default_cache() -> Path:
    """Returns the folder of all virtual environments of releases."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "bnsuite" / "environments"


class Release(Interpreter):
    """A release of torch in a virtual environment of the Python that runs this.

    It is made under a lock in a folder beside its own and renamed when it is complete: one whose making was
    interrupted is never used. One from an index that the user names has a folder of its own: two indexes may have
    different builds of one version.
    """

    def __init__(self, name: str, version: str, index: PackageIndex | None = None) -> None:
        found = VERSION.fullmatch(version)
        if found is None:
            raise EnvironmentUnavailableError(name, f"{version!r} is no release of torch; write it like torch==2.9.1")
        if (int(found[1]), int(found[2])) < MIN_TORCH:
            raise EnvironmentUnavailableError(
                name, f"what is judged must be torch {'.'.join(map(str, MIN_TORCH))} or newer"
            )
        kind = f"{sys.implementation.cache_tag}-{platform.machine()}"
        self._folder = default_cache() / f"{version}-{kind}{_key(index)}"
        super().__init__(name, str(self._folder))
        self._version, self._index = version, index
        self.hint = f"remove {self._folder}, and it is made anew"

    def prepare(self, notify: Notify = lambda _: None) -> None:
        """Makes the virtual environment unless there is one; a second maker waits for the first."""
        try:
            if not self._is_complete():
                self._folder.parent.mkdir(parents=True, exist_ok=True)
                with self._lock(notify) as lock:
                    if not self._is_complete():
                        self._make(lock, notify)
        except OSError as error:
            where = error.filename or self._folder.parent
            raise self.unavailable(
                f"{where}: {error.strerror}; make it writable, or set XDG_CACHE_HOME to another folder"
            ) from None

    def check(self, info: EnvironmentInfo) -> None:
        """Makes sure that the torch found there is this release."""
        found = info.packages.get("torch", "none")
        if _public(found) != _public(self._version):
            raise self.unavailable(f"{self._folder} holds torch {found}; {self.hint}")

    def _variables(self, options: WorkerOptions, token: str) -> dict[str, str]:
        """Returns the variables of a worker without the user's PYTHONPATH and PYTHONHOME: they are no part of it."""
        variables = super()._variables(options, token)
        users = [str(current_folder())] if options.imports_users_files else []
        path = os.pathsep.join([str(inner_half(options.scratch)), *users])
        return {**{name: value for name, value in variables.items() if name != "PYTHONHOME"}, "PYTHONPATH": path}

    def _is_complete(self) -> bool:
        """Returns True if the virtual environment is there; its python is a link to what may be gone."""
        return (self._folder / "bin" / "python").exists()

    @contextlib.contextmanager
    def _lock(self, notify: Notify) -> Iterator[IO[str]]:
        with Path(f"{self._folder}.lock").open("w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                notify(f"{self.name} is just being made by another process")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock

    def _make(self, lock: IO[str], notify: Notify) -> None:
        notify(f"making a virtual environment with {self.name}, once")
        part = Path(f"{self._folder}.part")
        shutil.rmtree(part, ignore_errors=True)
        try:
            self._run([sys.executable, "-m", "venv", str(part)], lock)
            install = [str(part / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-color"]
            install += ["--disable-pip-version-check", "--no-input", "--progress-bar=off", f"--log={part / LOG}"]
            self._run([*install, f"torch=={self._version}"], lock, part / LOG)
            (part / LOG).unlink(missing_ok=True)
            shutil.rmtree(self._folder, ignore_errors=True)
            part.rename(self._folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _run(self, command: list[str], lock: IO[str], log: Path | None = None) -> None:
        """Runs `command` to its end; it inherits the lock, for it may outlive this process. pip writes a `log`."""
        done = subprocess.run(
            command,
            env=pip.variables(self._index),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=(lock.fileno(),),
            check=False,
        )
        if done.returncode != 0:
            refused = pip.refusals(log) if log is not None and "(from versions: none)" in done.stdout else ""
            raise self.unavailable(cause(refused + done.stdout, self._folder.parent, self._index))


def _key(index: PackageIndex | None) -> str:
    """Returns the end of the name of a folder of releases from `index`; a new password changes nothing."""
    if index is None:
        return ""
    text = index.without_secrets().model_dump_json()
    return f"-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _public(version: str) -> Version | None:
    """Returns a version without its local label: that of 2.9 and of 2.9.0+cpu is one. None for what is no version."""
    return Version(Version(version).public) if VERSION.fullmatch(version) else None


def cause(output: str, cache: Path, index: PackageIndex | None = None) -> str:
    """Returns why pip, or the making of a virtual environment, failed, with the fix, from its output."""
    for pattern, meaning in CAUSES:
        if found := re.search(pattern, output):
            versions = [one.strip() for one in (found.groupdict().get("versions") or "").split(",")]
            shown = [version for version in versions if VERSION.fullmatch(version)][-8:]
            python = f"Python {platform.python_version()} on {platform.machine()}"
            words = {"python": python, "executable": sys.executable, "index": pip.shown(index)}
            return meaning.format(cache=cache, versions=", ".join(shown), **words)
    said = text_without_secrets(output, index)
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it said nothing"]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return f"pip can't install it: {(errors or lines)[-1].removeprefix('ERROR:').strip()[:300]}"
