"""Python files of a user's: loading one, and the list of those that hold cases."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

#: Set in every measured process: ``FILE.py`` or ``FILE.py:NAME``, several of them separated by `os.pathsep`;
#: absolute, since a worker runs in a folder of its own.
VARIABLE = "BNSUITE_CASES"
#: The name in a file that is meant where none is given.
DEFAULT_NAME = "CASES"


class CatalogueError(ValueError):
    """The catalogue can't be made; the message names the file or plug-in, and the cause, in one line."""


@dataclass(frozen=True)
class CasesFile:
    """A file that holds cases, and the name of the iterable, or of the function that returns it."""

    path: Path
    name: str = DEFAULT_NAME

    def __str__(self) -> str:
        return str(self.path) if self.name == DEFAULT_NAME else f"{self.path}:{self.name}"


def parse(text: str) -> tuple[CasesFile, ...]:
    """Returns the files that `text` names, as the variable has them; CatalogueError if it can't be read.

    A part that ends in ``.py`` begins an entry, and any other is the name that belongs to the one before: on Unix a
    colon separates both.
    """
    return tuple(CasesFile(path, name or DEFAULT_NAME) for path, name in entries(text, "cases"))


def entries(text: str, of: str) -> list[tuple[Path, str | None]]:
    """Returns the files that `text` names, each with the name in it, if one is given; `of` is what they hold."""
    found: list[tuple[Path, str | None]] = []
    named = True
    for part in filter(None, (piece for entry in text.split(os.pathsep) for piece in entry.split(":"))):
        if part.endswith(".py"):
            found.append((Path(part), None))
            named = False
        elif part.isidentifier() and not named:
            found[-1] = (found[-1][0], part)
            named = True
        else:
            raise CatalogueError(f"{of} {text}: {part!r} is no file; write path/to/file.py or path/to/file.py:NAME")
    return found


def module_from(path: Path, prefix: str) -> ModuleType:
    """Returns the module in the file `path`, imported anew; raises whatever it raises, and FileNotFoundError."""
    where = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]  # files of one name in two folders are two
    name = f"{prefix}_{path.stem}_{where}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
