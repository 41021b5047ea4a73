"""The inner half of this package, put before interpreters that do not have it."""

from __future__ import annotations

import contextlib
import shutil
import threading
from pathlib import Path

import bnsuite

#: All that a worker imports of ours; the rest would need packages that are not there.
PARTS = ("__init__.py", "cases", "measure")

_making = threading.Lock()


def inner_half(scratch: Path) -> Path:
    """A folder in `scratch` for PYTHONPATH that holds the package's inner half and nothing else.

    A copy, made once: our own site-packages must not come with it, and another Python's bytecode must not stay in
    them. Every user can read it, for a container may run as another one.
    """
    package = Path(bnsuite.__file__).parent
    folder = scratch / "inner"
    with _making:
        if not folder.exists():
            part = scratch / "inner.part"
            copy = part / package.name
            copy.mkdir(parents=True)
            for name in PARTS:
                if (package / name).is_dir():
                    leave_out = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(package / name, copy / name, copy_function=shutil.copyfile, ignore=leave_out)
                else:
                    shutil.copyfile(package / name, copy / name)
            make_readable(part)
            part.rename(folder)
    return folder


def make_readable(folder: Path) -> None:
    """Let every user read `folder` and what is in it, if they come as far."""
    for path in (folder, *folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # data that is just being made takes its name at the end
            path.chmod(0o755 if path.is_dir() else 0o644)
