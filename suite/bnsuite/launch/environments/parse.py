"""Reads the name of an environment as the user writes it."""

from __future__ import annotations

from bnsuite.launch.environments.environment import Environment
from bnsuite.launch.environments.image import Image
from bnsuite.launch.environments.interpreter import Here, Interpreter
from bnsuite.launch.environments.release import Release
from bnsuite.record.errors import InputError
from bnsuite.record.package_index import PackageIndex

FORMS = ". (this interpreter), python:PATH, torch==X.Y.Z or docker:IMAGE"


def parse(text: str, index: PackageIndex | None = None) -> Environment:
    """Returns the environment that `text` names; a release comes from `index`, or from where pip is set up for.

    Raises InputError, with the forms there are, if it names none.
    """
    kind, _, rest = text.partition(":")
    package, _, version = text.partition("==")
    if text == Here.NAME:
        return Here()
    if kind == "python" and rest:
        return Interpreter(text, rest)
    if kind == "docker" and rest:
        return Image(text, rest)
    if package == "torch" and version:
        return Release(text, version, index)
    raise InputError(f"{text!r} is no environment; write {FORMS}")
