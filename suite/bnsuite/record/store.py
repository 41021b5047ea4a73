"""Runs on disk: saved atomically, loaded with every field checked, migrated from older schemas."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from bnsuite.record.errors import InputError
from bnsuite.record.files import read_text, write_atomically
from bnsuite.record.schema import SCHEMA, Run, Value

RUN_FILE = "run.json"

#: From schema n to n + 1, on plain JSON.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}

V = TypeVar("V", bound=Value)


def save(run: Run, folder: Path) -> None:
    """Write `run` into `folder`."""
    write_atomically(folder / RUN_FILE, run.model_dump_json(by_alias=True, indent=1) + "\n")


def load(where: Path) -> Run:
    """The run in a folder, or in the file itself.

    Raises InputError, in one line, for a file that is missing, empty, cut off, not JSON, of a newer schema or of
    wrong types.
    """
    path = where / RUN_FILE if where.is_dir() else where
    if not path.exists():
        raise InputError(f"{path}: there is no run there; name the folder that a run wrote, such as results/latest")
    return parse(Run, read_text(path, "run"), path)


def parse(kind: type[V], text: str, path: Path) -> V:
    """`text` as a `kind`, which is versioned by its field "schema"."""
    if not text.strip():
        raise InputError(f"{path}: the file is empty; measure again, or restore it")
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: not JSON, or cut off: {error}; measure again, or restore it") from error
    return from_plain(kind, raw, path)


def from_plain(kind: type[V], raw: object, path: Path) -> V:
    """Decoded JSON as a `kind`, migrated to today's schema."""
    version = raw.get("schema") if isinstance(raw, dict) else None
    if not isinstance(raw, dict) or not isinstance(version, int):
        raise InputError(f'{path}: not written by bnsuite: it has no whole number under "schema"')
    if version > SCHEMA:
        raise InputError(f"{path}: has schema {version}, this bnsuite reads up to {SCHEMA}; use a newer bnsuite")
    while version < SCHEMA:
        if version not in MIGRATIONS:
            raise InputError(f"{path}: has schema {version}, which no bnsuite has written")
        raw = MIGRATIONS[version](raw)
        version += 1
    try:
        return kind.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}") from error


def first_problem(error: ValidationError) -> str:
    """Where the first wrong field stands and what is wrong with it."""
    problem = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in problem["loc"]) or "the top level"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"wrong field {where}: {problem['msg']}{more}"
