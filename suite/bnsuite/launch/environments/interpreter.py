"""Python interpreters of this machine as environments. What an interpreter does at its start is part of it."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path

from bnsuite.launch.environments.bundle import inner_half
from bnsuite.launch.environments.environment import MODULE, Environment, Notify, WorkerProcess
from bnsuite.launch.process import isolation
from bnsuite.launch.process.child import Child
from bnsuite.launch.process.options import WorkerOptions

ANOTHER = "name an interpreter, or the folder of a virtual environment"


class Interpreter(Environment):
    """An interpreter, or the virtual environment in a folder.

    It starts as it does for its user: sitecustomize, .pth files and the user's PYTHONPATH count. Only the inner half
    of this package comes before them.
    """

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self._path = path

    def prepare(self, notify: Notify = lambda _: None) -> None:  # noqa: ARG002  # it takes no time
        """Makes sure that there is a file that can be run."""
        self._python()

    def start(self, options: WorkerOptions, token: str) -> WorkerProcess:
        """Returns a worker process of this interpreter."""
        python = self._python()
        try:
            return Child(
                [str(python), "-m", MODULE],
                environment=self._variables(options, token),
                folder=options.scratch,
                log=options.scratch / f"{options.label}.txt",
                own_pipe=False,
                token=token,
            )
        except OSError as error:
            cause = error.strerror
            if error.errno == errno.ENOENT:  # the file is there: what its first line or its loader names is not
                cause = "the program that it needs to start (its #! line, or its loader) is missing"
            raise self.unavailable(f"{python} can't be started: {cause}; {ANOTHER}") from None

    def _variables(self, options: WorkerOptions, token: str) -> dict[str, str]:
        """Returns the environment variables of a worker, with the inner half first on its path."""
        variables = _own_variables(options, token)
        path = [str(inner_half(options.scratch)), *filter(None, [variables.get("PYTHONPATH")])]
        return {**variables, "PYTHONPATH": os.pathsep.join(path)}

    def _python(self) -> Path:
        """Returns the file to run, absolute, its links left alone: a virtual environment is found by its link."""
        path = Path(self._path).expanduser()
        if os.sep not in self._path and not path.exists() and (found := shutil.which(self._path)):
            path = Path(found)
        if not path.is_absolute():
            path = isolation.current_folder() / path
        path = Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow the link
        try:
            return self._checked(path)
        except PermissionError as error:
            raise self.unavailable(f"{error.filename} may not be looked into; give this user access") from None

    def _checked(self, path: Path) -> Path:
        if path.is_dir():
            inside = [path / "bin" / name for name in ("python", "python3")]
            present = [python for python in inside if python.is_symlink() or python.exists()]
            if not present:
                raise self.unavailable(f"is a folder without bin/python; {ANOTHER}")
            path = present[0]
        if path.is_symlink() and not path.exists():
            raise self.unavailable(
                f"{path} is a link to {path.readlink()}, which is gone; "
                "make the virtual environment anew, or name another interpreter"
            )
        if not path.exists():
            raise self.unavailable(f"there is no {path}; {ANOTHER}")
        if not path.is_file() or not os.access(path, os.X_OK):
            raise self.unavailable(f"{path} isn't executable; {ANOTHER}")
        return path


class Here(Interpreter):
    """The interpreter that runs this."""

    NAME = "."
    has_pytest = True

    def __init__(self) -> None:
        super().__init__(self.NAME, sys.executable)

    def _variables(self, options: WorkerOptions, token: str) -> dict[str, str]:
        """Returns the environment variables of a worker; this package is found where it is."""
        return _own_variables(options, token)


def _own_variables(options: WorkerOptions, token: str) -> dict[str, str]:
    """Returns the variables of a worker process of this machine, whose messages carry `token`."""
    pages = isolation.huge_pages(os.environ.get("GLIBC_TUNABLES")) if options.huge_pages else {}
    return isolation.process_environment(options, BNSUITE_TOKEN=token, **pages)
