"""The options that name functions of the user's, which checks judge in the place of torch's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from bnsuite.record.functions import ROLES


def options(side: str = "") -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Gives a verb an option for each function of the user's, as one dict `functions` by role.

    `side` ends the names of the options: "-b" in a comparison.
    """

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def verb(*args: Any, **given: Any) -> int:
            named = {role: name for role in ROLES if (name := given.pop(role)) is not None}
            return function(*args, functions=named, **given)

        for role in reversed(ROLES.values()):
            verb = click.option(f"{role.option}{side}", role.name, metavar="MODULE:FUNCTION", help=role.help)(verb)
        return verb

    return decorate
