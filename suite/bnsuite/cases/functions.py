"""Functions of a user's that checks judge in the place of torch's: to fold a layer, and to take statistics anew.

Each is named as an implementation is: ``FILE.py:FUNCTION``, or ``package.module:function``.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from bnsuite.cases.user_files import module_from

#: The roles: what a function does in the place of torch's. ``record/functions.py`` has the same ones.
ROLES = ("fold", "update_bn")
#: The variables of a measured process that name the functions, and the options that do, by role.
VARIABLES = {role: f"BNSUITE_{role.upper()}" for role in ROLES}
OPTIONS = {role: f"--{role.replace('_', '-')}" for role in ROLES}


class FunctionError(ValueError):
    """The function that was named can't be loaded; the message is one line."""


def named() -> dict[str, str]:
    """Returns the functions as they were named, by role; none that is torch's own."""
    return {role: os.environ[variable] for role, variable in VARIABLES.items() if os.environ.get(variable)}


def function(role: str) -> Callable[..., Any] | None:
    """Returns the user's function of a role, or None for torch's own; FunctionError if it can't be loaded."""
    name = named().get(role)
    return None if name is None else _load(role, name)


def load_all() -> None:
    """Load every function that is named; raises FunctionError for the first that can't be."""
    for role in named():
        function(role)


@cache
def _load(role: str, name: str) -> Callable[..., Any]:
    place, _, attribute = name.rpartition(":")
    said = f"{OPTIONS[role]} {name}"
    try:
        module = (
            module_from(Path(place), "bnsuite_function") if place.endswith(".py") else importlib.import_module(place)
        )
    except (Exception, SystemExit) as error:  # whatever the user's module raises as it is imported
        first = next(iter(str(error).strip().splitlines()), "")
        cause = f"{type(error).__name__}: {first}" if first else type(error).__name__
        raise FunctionError(f"{said}: {place} can't be imported: {cause}; look at its import") from error
    found: object = getattr(module, attribute, None)
    if not callable(found):
        raise FunctionError(f"{said}: {place} has no function {attribute!r}; name one that it defines")
    return found
