"""A workload as its file declares it, read from the source: the file is not imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from bnsuite.cases.user_files import CatalogueError

#: Set in every measured process: ``FILE.py`` or ``FILE.py:NAME``, several of them separated by `os.pathsep`.
VARIABLE = "BNSUITE_WORKLOADS"
#: What is meant where no name is given: a class as KernelBench has it, or else a factory of a step, or a training.
MODEL, STEP, TRAINING = "Model", "step", "training"
#: The usual names, which ids leave out.
USUAL = (MODEL, STEP, TRAINING, TRAINING.title())
#: The function that returns the inputs of one call, and the one that returns the arguments of the class.
INPUTS, ARGUMENTS = "get_inputs", "get_init_inputs"


class Kind(Enum):
    """What a name in a file is."""

    #: A class or a factory of modules, called with inputs.
    MODULE = "module"
    #: A factory of a callable that takes nothing.
    STEP = "step"
    #: A function or class that holds a model, data, a loss and an optimizer.
    TRAINING = "training"


@dataclass(frozen=True)
class Workload:
    """One name in a file, and what it is."""

    path: Path
    name: str
    kind: Kind
    #: Why its file holds no workload; None if it does.
    broken: str | None = None

    def __str__(self) -> str:
        return f"{self.path.name}:{self.name}"

    @property
    def id(self) -> str:
        """The word for it in ids: the file's name, and the name in it if that is not the usual one."""
        words = ".".join([self.path.stem, *([] if self.name in USUAL else [self.name])])
        if self.kind is Kind.TRAINING:  # it is also the name of the file of its accepted curves
            return re.sub(r"[^\w.-]", "-", words, flags=re.ASCII).lstrip("_.-") or TRAINING
        return re.sub(r"[^\w.+=,-]", "-", words, flags=re.ASCII)


def declared(path: Path, name: str | None) -> Workload:
    """Returns the workload that a file holds under `name`, or under the usual one; CatalogueError if there is none."""
    source = f"workload {path}" + (f":{name}" if name else "")
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CatalogueError(f"{source}: there is no file {path}") from None
    except (OSError, SyntaxError, ValueError) as error:
        first = next(iter(str(error).splitlines()), "")
        raise CatalogueError(f"{source}: can't be read: {type(error).__name__}: {first}") from error
    names = dict(_names(tree.body))
    inputs = INPUTS in names or "*" in names
    if name is None:
        # a class Model that has no inputs may be what a training trains
        usual = USUAL if inputs else (*USUAL[1:], MODEL)
        name = next((one for one in usual if one in names), None)
        if name is None:
            raise CatalogueError(f"{source}: has no {MODEL}, {STEP} or {TRAINING}; name what to measure: {path}:NAME")
    elif name not in names and "*" not in names:
        raise CatalogueError(f"{source}: has no {name}; name a class or a function of the file")
    is_class = names.get(name) is ast.ClassDef
    if name.lower().endswith(TRAINING) and not (is_class and inputs):
        return Workload(path, name, Kind.TRAINING)
    if is_class:
        if not inputs:
            advice = "write one that returns the inputs of one call as a list"
            raise CatalogueError(f"{source}: has no {INPUTS}(); {advice}")
        return Workload(path, name, Kind.MODULE)
    is_step = name == STEP or name.endswith(f"_{STEP}") or not inputs
    return Workload(path, name, Kind.STEP if is_step else Kind.MODULE)


def declared_or_broken(path: Path, name: str | None) -> Workload:
    """Returns the same of one among several files: if it holds no workload, its step fails and the others go on."""
    try:
        return declared(path, name)
    except CatalogueError as error:
        return Workload(path, name or STEP, Kind.STEP, str(error))


def _names(body: list[ast.stmt]) -> Iterator[tuple[str, type[ast.stmt]]]:
    """Yields the names that a module binds, each with the kind of its statement; "*" for names that are not told."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name, type(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (((one.asname or one.name), type(node)) for one in node.names)
        elif isinstance(node, ast.Assign):
            yield from ((one.id, ast.Assign) for one in node.targets if isinstance(one, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, ast.AnnAssign
        elif isinstance(node, ast.If | ast.Try | ast.With):
            handlers = [one for handler in getattr(node, "handlers", ()) for one in handler.body]
            yield from _names([*node.body, *handlers, *getattr(node, "orelse", ())])
