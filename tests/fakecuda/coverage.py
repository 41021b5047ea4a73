"""Which statements of the package ran: each process appends them to a file of its own in a folder."""

from __future__ import annotations

import ast
import atexit
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

#: The folder of the files, for children.
VARIABLE = "FAKE_CUDA_COVERAGE"
SUITE = Path(__file__).resolve().parents[2] / "suite" / "bnsuite"

#: The most lines that may be lost with a process that is killed.
UNWRITTEN = 20

Lines = set[tuple[str, int]]
_WRITERS: list[Callable[[], None]] = []


def start() -> None:
    """Counts from now on, until the process ends or is ended."""
    folder = Path(os.environ[VARIABLE])
    seen: Lines = set()
    written: Lines = set()
    ours = tuple(f"{SUITE / part}{os.sep}" for part in ("measure", "cases"))
    #: What is known of a function's code: whether it is ours.
    known: dict[CodeType, bool] = {}

    def write() -> None:
        fresh = seen - written
        if fresh:
            written.update(fresh)
            with (folder / f"{os.getpid()}.txt").open("a", encoding="utf-8") as file:
                file.writelines(f"{name}:{line}\n" for name, line in fresh)

    def inside(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            seen.add((frame.f_code.co_filename, frame.f_lineno))
            if len(seen) >= len(written) + UNWRITTEN:  # a process that is killed writes nothing at its end
                write()
        return inside

    def enter(frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        here = known.get(code)
        if here is None:
            here = known[code] = code.co_filename.startswith(ours)
        if not here:
            return None
        if code.co_name == "write" and code.co_filename.endswith("channel.py"):
            write()  # an answer is about to go: the process may be killed after it
        return inside

    _WRITERS.append(write)
    atexit.register(write)
    threading.settrace(enter)
    sys.settrace(enter)


def write() -> None:
    """Writes what was counted so far, before an end of the process that runs nothing else."""
    for one in _WRITERS:
        one()


def read(folder: Path) -> Lines:
    """Returns the lines that any process ran, of all files of a folder."""
    found: Lines = set()
    for file in folder.glob("*.txt"):
        for line in file.read_text(encoding="utf-8").splitlines():
            name, _, number = line.rpartition(":")
            found.add((name, int(number)))
    return found


def statements(path: Path) -> dict[int, range]:
    """Returns the first line of each statement of a file with all its lines, without definitions and docstrings."""
    found: dict[int, range] = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.stmt) or isinstance(
            node, (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
        ):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        body = getattr(node, "body", None)
        last = body[0].lineno - 1 if body else (node.end_lineno or node.lineno)
        found[node.lineno] = range(node.lineno, max(node.lineno, last) + 1)
    return found


__all__ = ["VARIABLE", "read", "start", "statements", "write"]
