"""The inner half of this package, for interpreters that do not have it."""

from __future__ import annotations

import contextlib
import shutil
import threading
from importlib.util import find_spec
from pathlib import Path

import bnsuite
from bnsuite.launch.process.scratch import HINT, ScratchError

#: All of this package that a worker imports; the rest needs packages that may not be there.
PARTS = ("__init__.py", "cases", "measure")
#: Where it looks for nvidia-ml-py, one file of Python, if the environment has none: GPUs are watched all the same.
NVML = Path("measure") / "nvml"

_making = threading.Lock()


def inner_half(scratch: Path) -> Path:
    """Returns a folder in `scratch` for PYTHONPATH that holds the inner half, NVML's binding, and nothing else.

    A copy, made once: our own site-packages must not come with it, and another Python's bytecode must not stay in
    them. Every user can read it, for a container may run as another one. ScratchError if it can't be made.
    """
    package = Path(bnsuite.__file__).parent
    folder = scratch / "inner"
    with _making:
        if not folder.exists():
            part = scratch / "inner.part"
            shutil.rmtree(part, ignore_errors=True)
            try:
                _copy(package, part / package.name)
                make_readable(part)
                part.rename(folder)
            except OSError as error:
                cause = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror
                raise ScratchError(f"{scratch}: cannot be written to: {cause}; {HINT}") from error
    return folder


def _copy(package: Path, copy: Path) -> None:
    copy.mkdir(parents=True)
    for name in PARTS:
        if (package / name).is_dir():
            leave_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(package / name, copy / name, copy_function=shutil.copyfile, ignore=leave_out)
        else:
            shutil.copyfile(package / name, copy / name)
    binding = find_spec("pynvml")
    if binding is not None and binding.origin is not None:
        shutil.copyfile(binding.origin, copy / NVML / "pynvml.py")


def make_readable(folder: Path) -> None:
    """Lets every user read `folder` and all that is in it."""
    for path in (folder, *folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # data that is just being made takes its name at the end
            path.chmod(0o755 if path.is_dir() else 0o644)
