"""Runs on disk: saved atomically, loaded with every field checked, migrated from older schemas."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from bnsuite.record.errors import InputError
from bnsuite.record.files import exists, read_text, write_atomically
from bnsuite.record.folder import RUN, SIDES, ResultsFolder
from bnsuite.record.schema import CaseResult, Run, RunKind, Versioned

#: What helps with a file that was measured.
HINT = "restore it, or measure again"
#: What is said where a run is looked for and is not.
NO_RUN = "there is no run there; name the folder that a run wrote, or measure one with `bnsuite`"

V = TypeVar("V", bound=Versioned)


def text(result: CaseResult) -> str:
    """A case's result as it stands in the file, on one line."""
    return result.model_dump_json(by_alias=True)


def save(run: Run, folder: Path, text_of: Callable[[CaseResult], str] = text) -> None:
    """Write `run` into `folder`, a line a case; `text_of` may remember the lines of an earlier call."""
    head = run.model_dump_json(by_alias=True, indent=1, exclude={"cases"}).removesuffix("\n}")
    lines = ",\n".join(f"  {text_of(result)}" for result in run.cases)
    write_atomically(folder / RUN, f'{head},\n "cases": [\n{lines}\n ]\n}}\n')


def folder_of(where: Path) -> Path:
    """The folder of a run that was named by its folder or its file."""
    return where if exists(where) and where.is_dir() else where.parent


def load(where: Path) -> Run:
    """The run in a folder, or in the file itself.

    Raises InputError, in one line, for a file that is missing, empty, cut off, not JSON, of a newer schema or of
    wrong types.
    """
    if not exists(where):
        raise InputError(f"{where}: {NO_RUN}")
    path = where / RUN if where.is_dir() else where
    if where.is_dir() and not exists(path) and exists(where / SIDES[0] / RUN):
        raise InputError(
            f"{where}: is a comparison, which `bnsuite show` prints; name a run (`claims` and `figures` also take its "
            f"sides, {where}/a and {where}/b)"
        )
    if not exists(path):
        raise InputError(f"{path}: {NO_RUN}")
    return parse(Run, read_text(path, "run"), path)


def load_run(where: Path) -> Run:
    """As :func:`load`, for judging by and accepting into baselines; InputError for a side of a comparison."""
    run = load(where)
    side = run.side or _side_of_old(folder_of(where).resolve())
    if run.kind is RunKind.SIDE or side is not None:
        raise InputError(
            f"{where}: is side {(side or '?').upper()} of a comparison, whose times are no run's; `bnsuite show` "
            "prints the verdicts of a comparison, and `bnsuite` alone measures a run"
        )
    return run


def _side_of_old(folder: Path) -> str | None:
    """The side of a comparison that a folder holds, by where it lies; until 0.3 a run did not say so itself."""
    return folder.name if folder.name in SIDES and ResultsFolder(folder.parent).is_comparison else None


def parse(kind: type[V], text: str, path: Path, place: str = "", hint: str = HINT) -> V:
    """`text` as a `kind`, migrated to today's schema; `place` says where in the file it stands.

    Raises InputError with `hint` if it can't be used.
    """
    where = f"{path}{place}"
    if not text.strip():
        raise InputError(f"{where}: {'the line' if place else 'the file'} is empty; {hint}")
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON, or cut off: {error}; {hint}") from error
    version = raw.get("schema") if isinstance(raw, dict) else None
    if not isinstance(raw, dict) or not isinstance(version, int) or isinstance(version, bool):
        raise InputError(f'{where}: not written by bnsuite: it has no whole number under "schema"; {hint}')
    if version > kind.SCHEMA:
        raise InputError(f"{where}: has schema {version}, this bnsuite reads up to {kind.SCHEMA}; use a newer bnsuite")
    current = version == kind.SCHEMA
    while version < kind.SCHEMA:
        if version not in kind.MIGRATIONS:
            raise InputError(f"{where}: has schema {version}, which no bnsuite has written")
        try:
            raw = kind.MIGRATIONS[version](raw)
        except (LookupError, TypeError, AttributeError) as error:
            raise InputError(f"{where}: lacks what schema {version} has ({error}); {hint}") from error
        version += 1
    try:
        return kind.model_validate_json(text if current else json.dumps(raw))
    except ValidationError as error:
        raise InputError(f"{where}: {first_problem(error)}; {hint}") from error


def first_problem(error: ValidationError) -> str:
    """Returns the place of the first wrong field, and the error in it."""
    problem = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in problem["loc"]) or "the top level"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"wrong field {where}: {problem['msg']}{more}"
