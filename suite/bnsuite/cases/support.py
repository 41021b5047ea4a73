"""The kinds of input and layer that an implementation supports, as its author declares them.

A factory has an attribute ``supports``, such as ``{"dims": [2], "dtypes": ["float32"]}``; ``--supports`` replaces its
entries one by one. What is not named is supported. ``launch/supports.py`` has the same words for the command line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: Set in every process of a run with ``--supports``: the entries as JSON, lists of words by name.
VARIABLE = "BNSUITE_SUPPORTS"
#: The entries there are, and the words of each. Those of NUMBERS are numbers as well.
WORDS: dict[str, tuple[str, ...]] = {
    "dims": ("1", "2", "3"),
    "dtypes": ("float16", "bfloat16", "float32", "float64"),
    "devices": ("cpu", "cuda"),
    "layouts": ("contiguous", "channels-last", "strided"),
    "affine": ("true", "false"),
    "track_running_stats": ("true", "false"),
    "momentum": ("none", "number"),
    "eps": ("number",),
}
NUMBERS = ("momentum", "eps")
#: Torch's defaults of the arguments that distinguish layers.
DEFAULTS: dict[str, Any] = {"affine": True, "track_running_stats": True, "momentum": 0.1, "eps": 1e-5}
#: The dimensions of an input, by those beyond (N, C).
RANKS: dict[int, tuple[int, ...]] = {1: (2, 3), 2: (4,), 3: (5,)}
PLACES = {2: "(N, C)", 3: "(N, C, L)", 4: "(N, C, H, W)", 5: "(N, C, D, H, W)"}


class UndeclaredError(NotImplementedError):
    """The implementation does not declare that it supports this; the message is the reason."""


class SupportError(ValueError):
    """The declaration can't be read; the message is one line."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of input and layer; `rank` counts all dimensions of the input, `flags` differ from torch's defaults."""

    rank: int = 4
    dtype: str = "float32"
    layout: str = "contiguous"
    flags: tuple[tuple[str, Any], ...] = ()

    @property
    def dims(self) -> int:
        return max(1, self.rank - 2)


def flags_of(arguments: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Returns the arguments of a layer that differ from torch's defaults."""
    return tuple(sorted((name, value) for name, value in arguments.items() if DEFAULTS.get(name, value) != value))


def layout_of(x: torch.Tensor) -> str:
    """Returns the layout of an input, (N, C, ...)."""
    if x.is_contiguous():
        return "contiguous"
    return "channels-last" if x.dim() > 2 and x.movedim(1, -1).is_contiguous() else "strided"


def kind_of(x: torch.Tensor, flags: tuple[tuple[str, Any], ...] = ()) -> Kind:
    """Returns the kind of an input to a layer with these flags."""
    return Kind(rank=x.dim(), dtype=str(x.dtype).removeprefix("torch."), layout=layout_of(x), flags=flags)


@dataclass(frozen=True)
class Declaration:
    """The entries that were declared: words by name."""

    entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def excludes(self, name: str, value: Any) -> bool:
        """Returns True if `name` is declared without `value`."""
        if name not in self.entries:
            return False
        words = self.entries[name]
        if isinstance(value, int | float) and not isinstance(value, bool) and name in NUMBERS:
            return "number" not in words and not any(_number(word) == float(value) for word in words)
        return _word(value) not in words

    def lacks(self, kind: Kind) -> str | None:
        """Returns the reason why a kind is outside of the declaration, or None."""
        return (
            self.lacks_dims(kind.dims)
            or self._reason("dtypes", kind.dtype, f"{kind.dtype} input")
            or self._reason("layouts", kind.layout, f"{kind.layout} input")
            or self.lacks_flags(dict(kind.flags))
        )

    def lacks_dims(self, dims: int) -> str | None:
        """Returns the reason why inputs with `dims` beyond (N, C) are outside of the declaration, or None."""
        return self._reason("dims", dims, f"{dims}-dimensional input")

    def lacks_device(self, device: str) -> str | None:
        """Returns the reason why a device, such as "cuda:0", is outside of the declaration, or None."""
        return self._reason("devices", device.partition(":")[0], f"input on {device.partition(':')[0]}")

    def lacks_flags(self, arguments: Mapping[str, Any]) -> str | None:
        """Returns the reason why a layer with these arguments is outside of the declaration, or None."""
        given = {**DEFAULTS, **arguments}
        reasons = (self._reason(name, given[name], f"{name}={given[name]}") for name in DEFAULTS)
        return next(filter(None, reasons), None)

    def _reason(self, name: str, value: Any, what: str) -> str | None:
        if not self.excludes(name, value):
            return None
        return f"the implementation does not declare {what}: it supports {name}={','.join(self.entries[name])}"


def parse(given: object, where: str) -> Declaration:
    """Returns the declaration in a dict of lists; SupportError, which begins with `where`, for anything else."""
    if not isinstance(given, Mapping):
        raise SupportError(f"{where}: is no dict; write it like {{'dims': [2], 'dtypes': ['float32']}}")
    entries: dict[str, tuple[str, ...]] = {}
    for name, values in given.items():
        if name not in WORDS:
            raise SupportError(f"{where}: there is no entry {name!r}; choose among {', '.join(WORDS)}")
        listed = values if isinstance(values, list | tuple | set | frozenset) else [values]
        words = tuple(_word(value) for value in listed)
        for word in words:
            if word not in WORDS[name] and not (name in NUMBERS and _number(word) is not None):
                numbers = " or numbers" if name in NUMBERS else ""
                raise SupportError(f"{where}: {name} can't be {word!r}; choose among {', '.join(WORDS[name])}{numbers}")
        if not words:
            raise SupportError(f"{where}: {name} is empty; name one of {', '.join(WORDS[name])} or leave it out")
        entries[str(name)] = words
    return Declaration(entries)


def declaration(factory: Callable[..., Any], name: str, given: str | None) -> Declaration:
    """Returns the declaration of a factory called `name`; entries of the command line, as JSON, replace its own."""
    own = parse(getattr(factory, "supports", None) or {}, f"implementation {name}: supports")
    return replace(own, entries={**own.entries, **parse(json.loads(given or "{}"), "--supports").entries})


def _word(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return str(value).removeprefix("torch.")


def _number(word: str) -> float | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return number if isfinite(number) else None
