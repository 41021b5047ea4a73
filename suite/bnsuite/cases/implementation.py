"""The batch norm layer that is judged: torch's own, or an implementation that a user names.

``--impl module:factory`` names a callable that takes the arguments of ``torch.nn.BatchNorm2d`` and returns a module,
which stands in for torch's layer of any rank: ``BatchNorm1d``, ``2d`` and ``3d``.
"""

from __future__ import annotations

import importlib
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsuite.cases.user_files import module_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

#: Set in every process of a run that judges a user's implementation: ``module:factory``, or ``/a/file.py:factory``.
VARIABLE = "BNSUITE_IMPL"


class ImplementationError(ValueError):
    """The implementation that was named can't be loaded."""


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


def refusal(reason: object) -> str:
    """Returns the reason for an implementation that raised NotImplementedError."""
    return f"the implementation does not do it: {reason}"


def batch_norm(dimensions: int, channels: int, **arguments: Any) -> nn.Module:
    """Returns the implementation's or torch's layer for inputs of 1, 2 or 3 `dimensions` beyond (N, C)."""
    name = named()
    if name is not None:
        return load(name)(channels, **arguments)
    return torchs_own(dimensions, channels, **arguments)


def torchs_own(dimensions: int, channels: int, **arguments: Any) -> nn.Module:
    """Returns torch's own ``BatchNorm1d``, ``BatchNorm2d`` or ``BatchNorm3d``."""
    from torch import nn

    kind = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dimensions]
    return kind(channels, **arguments)
