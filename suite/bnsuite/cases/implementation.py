"""The batch norm layer that is judged: torch's own, or an implementation that a user names.

``--impl module:factory`` names a callable that takes the arguments of ``torch.nn.BatchNorm2d`` and returns a module,
which stands in for torch's layer of any rank: ``BatchNorm1d``, ``2d`` and ``3d``. Layers that are made are remembered
until :func:`begin`, so that a case which fails can be held against what the implementation supports.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from bnsuite.cases.support import VARIABLE as SUPPORTS
from bnsuite.cases.support import Declaration, SupportError, UndeclaredError, declaration, flags_of
from bnsuite.cases.user_files import module_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

#: Set in every process of a run that judges a user's implementation: ``module:factory``, or ``/a/file.py:factory``.
VARIABLE = "BNSUITE_IMPL"


class ImplementationError(ValueError):
    """The implementation that was named can't be loaded."""


Flags = tuple[tuple[str, Any], ...]


@dataclass
class Made:
    """The layers of the implementation that one case has made."""

    #: Layers that are alive, with their arguments that differ from torch's defaults.
    layers: WeakKeyDictionary[nn.Module, Flags] = field(default_factory=WeakKeyDictionary)
    #: Dimensions beyond (N, C) and arguments of all layers, also of those that could not be made.
    calls: dict[tuple[int, Flags], None] = field(default_factory=dict)
    #: Reasons why layers were not made: they are not declared.
    undeclared: list[str] = field(default_factory=list)


MADE = Made()


def begin() -> None:
    """Forget the layers that an earlier case has made."""
    MADE.layers.clear()
    MADE.calls.clear()
    MADE.undeclared.clear()


def named() -> str | None:
    """Returns the implementation as it was named, or None for torch's own layers."""
    return os.environ.get(VARIABLE) or None


@cache
def load(name: str) -> Callable[..., nn.Module]:
    """Returns the factory that `name` means; ImplementationError, in one line, if there is none."""
    place, _, attribute = name.rpartition(":")
    try:
        path = Path(place)
        module = (
            module_from(path, "bnsuite_implementation") if place.endswith(".py") else importlib.import_module(place)
        )
    except Exception as error:  # whatever the user's module raises as it is imported
        said = next(iter(str(error).strip().splitlines()), "")
        raise ImplementationError(
            f"implementation {name}: {place} can't be imported: {type(error).__name__}: {said}"
        ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise ImplementationError(f"implementation {name}: {place} has no callable {attribute!r}")
    found: Callable[..., nn.Module] = factory
    return found


@cache
def declared(name: str, given: str | None) -> Declaration:
    """Returns what the implementation supports by its own word, and by `given`, the value of the variable.

    Raises ImplementationError, in one line, for a declaration that can't be read.
    """
    try:
        return declaration(load(name), name, given)
    except SupportError as error:
        raise ImplementationError(str(error)) from error


def refusal(reason: object) -> str:
    """Returns the reason for an implementation that raised NotImplementedError."""
    return f"the implementation does not do it: {reason}"


def batch_norm(dimensions: int, channels: int, **arguments: Any) -> nn.Module:
    """Returns the implementation's or torch's layer for inputs of 1, 2 or 3 `dimensions` beyond (N, C).

    Raises UndeclaredError for a layer that the implementation does not declare.
    """
    name = named()
    if name is None:
        return torchs_own(dimensions, channels, **arguments)
    supported, flags = declared(name, os.environ.get(SUPPORTS)), flags_of(arguments)
    reason = supported.lacks_dims(dimensions) or supported.lacks_flags(arguments)
    if reason is not None:
        MADE.undeclared.append(reason)
        raise UndeclaredError(reason)
    MADE.calls[dimensions, flags] = None
    layer = load(name)(channels, **arguments)
    with contextlib.suppress(TypeError):  # it is no module, which its first use will show
        MADE.layers[layer] = flags
    return layer


def torchs_own(dimensions: int, channels: int, **arguments: Any) -> nn.Module:
    """Returns torch's own ``BatchNorm1d``, ``BatchNorm2d`` or ``BatchNorm3d``."""
    from torch import nn

    kind = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dimensions]
    return kind(channels, **arguments)
