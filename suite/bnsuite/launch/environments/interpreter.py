"""A Python interpreter of this machine as a place for workers. What it does by itself is part of it."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path

from bnsuite.launch.environments.bundle import inner_half
from bnsuite.launch.environments.environment import MODULE, Environment, WorkerOptions, WorkerProcess
from bnsuite.launch.process import isolation
from bnsuite.launch.process.child import Child
from bnsuite.record.errors import InputError

ANOTHER = "name an interpreter, or the folder of a virtual environment"


class Interpreter(Environment):
    """An interpreter, or the virtual environment in a folder.

    It starts as it does for its user: sitecustomize, .pth files and the user's PYTHONPATH count. Only the inner half
    of this package comes before them.
    """

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self._path = path

    def prepare(self) -> None:
        """Make sure that there is a file that can be run."""
        self._python()

    def start(self, how: WorkerOptions, token: str) -> WorkerProcess:
        """A worker in this interpreter."""
        python = self._python()
        environment = {**self._environment(how, token), **self._huge_pages(how)}
        try:
            return Child(
                [str(python), "-m", MODULE],
                environment=environment,
                folder=how.scratch,
                log=how.scratch / f"{how.label}.txt",
                own_pipe=False,
                token=token,
            )
        except OSError as error:
            cause = error.strerror
            if error.errno == errno.ENOENT:  # the file is there: what its first line or its loader names is not
                cause = "the program that it needs to start (its #! line, or its loader) is missing"
            raise InputError(f"{self.name}: {python} can't be started: {cause}; {ANOTHER}") from None

    @staticmethod
    def _huge_pages(how: WorkerOptions) -> dict[str, str]:
        return isolation.huge_pages(os.environ.get("GLIBC_TUNABLES")) if how.huge_pages else {}

    def _environment(self, how: WorkerOptions, token: str) -> dict[str, str]:
        made = isolation.worker_environment(
            *(how.threads, how.scratch, how.implementation), stage=how.stage, cores=how.cores, token=token
        )
        path = [str(inner_half(how.scratch)), *filter(None, [made.get("PYTHONPATH")])]
        return {**made, "PYTHONPATH": os.pathsep.join(path)}

    def _python(self) -> Path:
        """The file to run, made absolute, its links left alone: a virtual environment is found by its link."""
        path = Path(self._path).expanduser()
        if os.sep not in self._path and not path.exists() and (found := shutil.which(self._path)):
            path = Path(found)
        path = Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow the link
        try:
            return self._checked(path)
        except PermissionError as error:
            raise InputError(f"{self.name}: {error.filename} may not be looked into; give this user access") from None

    def _checked(self, path: Path) -> Path:
        if path.is_dir():
            inside = [path / "bin" / name for name in ("python", "python3")]
            present = [python for python in inside if python.is_symlink() or python.exists()]
            if not present:
                raise InputError(f"{self.name}: is a folder without bin/python; {ANOTHER}")
            path = present[0]
        if path.is_symlink() and not path.exists():
            raise InputError(
                f"{self.name}: {path} is a link to {path.readlink()}, which is gone; "
                "make the virtual environment anew, or name another interpreter"
            )
        if not path.exists():
            raise InputError(f"{self.name}: there is no {path}; {ANOTHER}")
        if not path.is_file() or not os.access(path, os.X_OK):
            raise InputError(f"{self.name}: {path} isn't executable; {ANOTHER}")
        return path


class Here(Interpreter):
    """The interpreter that runs this."""

    NAME = "."

    def __init__(self) -> None:
        super().__init__(self.NAME, sys.executable)

    def _environment(self, how: WorkerOptions, token: str) -> dict[str, str]:
        """It has this package already, wherever it has it from."""
        return isolation.worker_environment(
            *(how.threads, how.scratch, how.implementation), stage=how.stage, cores=how.cores, token=token
        )
