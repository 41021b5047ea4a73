"""The catalogue: the built-in cases, those of files that a user names, and those of installed plug-ins.

It is made when it is first asked for. A plug-in is a package with an entry point of the group ``bnsuite.cases``,
whose value is an iterable of cases or a function that returns one; files are named in ``BNSUITE_CASES`` (see
:mod:`bnsuite.cases.user_files`), workloads in ``BNSUITE_WORKLOADS`` (see :mod:`bnsuite.cases.workload`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, entry_points

from bnsuite.cases import functions, implementation, workload
from bnsuite.cases.case import PROFILES, Case
from bnsuite.cases.checks.case import CheckCase
from bnsuite.cases.data import SETS
from bnsuite.cases.op.ratio import RatioCase
from bnsuite.cases.train.case import TrainCase, TrainingCase
from bnsuite.cases.user_files import VARIABLE, CasesFile, CatalogueError, entries, module_from, parse

GROUP = "bnsuite.cases"
#: Words of a path.
ID = re.compile(r"[\w.+=,-]+(/[\w.+=,-]+)+", re.ASCII)
#: The source of the cases of this package, which tests describe.
BUILT_IN = "bnsuite"
#: The gates there are, and the kinds of case that may have one, the first for users to make; none for any.
GATES: dict[str, tuple[type[Case], ...]] = {
    "timing": (),
    "memory": (),
    "kernels": (),
    "convergence": (TrainCase, TrainingCase),
    "numerics": (CheckCase,),
    "behaviour": (CheckCase,),
}

#: The name of a source in messages, and a function that returns an iterable of cases or raises CatalogueError.
Source = tuple[str, Callable[[], object]]


def all_cases() -> tuple[Case, ...]:
    """Returns every case, in the order it is measured; CatalogueError if a file or plug-in can't be used."""
    return tuple(_by_id().values())


def case(name: str) -> Case:
    """Returns the case whose id is `name`; CatalogueError if there is none."""
    found = _by_id().get(name)
    if found is None:
        raise CatalogueError(f"case {name}: there is none of this id in the catalogue; `bnsuite list` shows all")
    return found


def profile(name: str) -> list[Case]:
    """Returns the cases of the profile `name`; those alone that contain what a user names, if anything is named."""
    chosen = [one for one in all_cases() if name in one.profiles]
    plugged, roles = implementation.named() is not None, functions.named()
    if plugged or roles:
        return [one for one in chosen if (plugged and one.pluggable) or one.role in roles]
    return [one for one in chosen if not (isinstance(one, RatioCase) and one.of_implementation)]


def _by_id() -> dict[str, Case]:
    return _load(os.environ.get(VARIABLE, ""), os.environ.get(workload.VARIABLE, ""), implementation.named())


@lru_cache(maxsize=2)
def _load(
    files: str, workloads: str, _implementation: str | None
) -> dict[str, Case]:  # by which some cases need no GPU
    cases: dict[str, Case] = {}
    homes: dict[str, str] = {}
    for source, load in _sources(files, workloads):
        for one in _iterate(source, load()):
            found = _checked(source, one)
            if found.id in homes:
                raise CatalogueError(f"{source}: the id {found.id} is that of a case of {homes[found.id]}; rename one")
            homes[found.id], cases[found.id] = source, found
    return cases


def _sources(files: str, workloads: str) -> Iterator[Source]:
    yield BUILT_IN, _built_in
    for file in parse(files):
        yield f"cases {file}", partial(_of_file, file)
    named = entries(workloads, "workload")
    for path, name in named:
        one = workload.declared(path, name) if len(named) == 1 else workload.declared_or_broken(path, name)
        yield f"workload {path}:{one.name}", partial(workload.cases_of, one)
    for entry in entry_points(group=GROUP):
        yield f"plug-in {entry.name}", partial(_of_plug_in, entry)


def _built_in() -> Iterable[Case]:
    from bnsuite.cases import checks, distributed, op, train

    timed = (*op.CASES, *op.RATIOS, *train.CASES, *distributed.CASES, *distributed.RATIOS)
    return (*checks.all_checks(), *timed)


def _of_file(file: CasesFile) -> object:
    try:
        module = module_from(file.path, "bnsuite_cases")
    except FileNotFoundError as error:
        missing = f"there is no file {file.path}" if not file.path.is_file() else _said(error)
        advice = (
            "" if file.path.is_absolute() else "; a measured process has a folder of its own: name it from the root"
        )
        raise CatalogueError(f"cases {file}: {missing}{advice}") from error
    except (Exception, SystemExit) as error:
        raise CatalogueError(f"cases {file}: can't be imported: {_said(error)}") from error
    if not hasattr(module, file.name):
        raise CatalogueError(f"cases {file}: has no {file.name}; name what holds its cases: {file.path}:NAME")
    return getattr(module, file.name)


def _of_plug_in(entry: EntryPoint) -> object:
    try:
        return entry.load()
    except (Exception, SystemExit) as error:
        advice = "repair or uninstall it"
        raise CatalogueError(
            f"plug-in {entry.name}: {entry.value} can't be loaded: {_said(error)}; {advice}"
        ) from error


def _iterate(source: str, value: object) -> Iterator[object]:
    """Yields what `value`, or the iterable that it returns, holds."""
    try:
        found = value() if callable(value) else value
        if not isinstance(found, Iterable):
            raise CatalogueError(f"{source}: holds {_named(found)}, which is no iterable of cases")
        yield from found
    except CatalogueError:
        raise
    except (Exception, SystemExit) as error:
        raise CatalogueError(f"{source}: its cases can't be made: {_said(error)}") from error


def _checked(source: str, one: object) -> Case:
    """Returns a case that can be planned with; CatalogueError for any other object."""
    if not isinstance(one, Case):
        raise CatalogueError(f"{source}: holds {_named(one)}, which is no Case")
    try:
        name, gates, labels = one.id, one.gates, one.labels
        problem = _problem(one, name, gates, labels)
        if problem is None and source != BUILT_IN:
            one.describe()
    except Exception as error:
        raise CatalogueError(f"{source}: a {type(one).__name__} can't be described: {_said(error)}") from error
    if problem:
        raise CatalogueError(f"{source}: case {name}: {problem}")
    return one


def _problem(one: Case, name: str, gates: tuple[str, ...], labels: dict[str, str]) -> str | None:
    if not ID.fullmatch(name):
        return "its id is no path of words of letters, digits and -_.+=, such as mine/layer/fwd"
    for gate in gates:
        if gate not in GATES:
            return f"there is no gate {gate!r}; choose among {', '.join(GATES)}"
        if GATES[gate] and not isinstance(one, GATES[gate]):
            return f"only a {GATES[gate][0].__name__} can have the gate {gate!r}"
    if not all(isinstance(text, str) for pair in labels.items() for text in pair):
        return "its labels are not all text"
    if one.dataset is not None and one.dataset not in SETS:
        return f"there is no data set {one.dataset!r}; choose among {', '.join(SETS)}"
    return None if set(one.profiles) <= set(PROFILES) else f"its profiles are not among {', '.join(PROFILES)}"


def _named(value: object) -> str:
    return f"an object of type {type(value).__name__}"


def _said(error: BaseException) -> str:
    """Returns an exception in one line."""
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
